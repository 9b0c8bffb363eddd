"""In CI no test is skipped, and elsewhere each skip states its reason."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts.host import ROOT

SUITE = {
    "test_skips": "import pytest\ndef test_it():\n    pytest.skip('no tool')\n",
    "test_skips_whole": "import pytest\npytest.skip('no module', allow_module_level=True)\n",
    "test_lacks_a_program": (
        "from tests.parts.host import tool\n"
        "def test_it():\n    tool('no-such-program', 'no-such-package')\n"
    ),
    "test_fails_as_expected": (
        "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert False\n"
    ),
    "test_passes": "def test_it():\n    pass\n",
}


def outcome(directory: Path, ci: str) -> tuple[int, dict[str, int], str]:
    """Run the suite above under this conftest; return exit code, counts and output."""
    for name, text in SUITE.items():
        (directory / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", os.devnull, "-rs",
         "-p", "no:cacheprovider", "--color=no", "--continue-on-collection-errors", str(directory)],
        cwd=ROOT, env={**os.environ, "CI": ci}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    counts = re.findall(r"(\d+) (\w+)", done.stdout.splitlines()[-1])
    return done.returncode, {word: int(number) for number, word in counts}, done.stdout


def test_nothing_is_skipped_in_ci(tmp_path: Path) -> None:
    """With CI=true a skipped test, a skipped module and a missing program are failures."""
    code, counts, output = outcome(tmp_path, "true")
    assert code == 1, output
    assert counts["passed"] == 1
    assert counts["xfailed"] == 1
    assert counts["failed"] + counts.get("error", 0) + counts.get("errors", 0) == 3, output
    assert "skipped" not in counts


@pytest.mark.parametrize("ci", ["", "false"])
def test_a_skip_elsewhere_says_why(tmp_path: Path, ci: str) -> None:
    """Outside CI, a test that cannot run is skipped with its reason in the output."""
    code, counts, output = outcome(tmp_path, ci)
    assert code == 0, output
    assert counts["skipped"] == 3
    assert "no tool" in output
    assert "no-such-program is missing: install no-such-package" in output
