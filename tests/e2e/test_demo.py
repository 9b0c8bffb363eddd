"""The demo ends with 0 when all promises are kept, and with 1 when the daemon breaks one."""

from __future__ import annotations

import html
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts.host import IS_ROOT, ROOT, os_user, work_directory
from tests.parts.project import project_files

STEPS = [
    "1. sixtykeyd and a temporary sshd start; this sshd asks sixtykeyd for keys",
    "2. A new key pair is made",
    "3. Before the push, sshd refuses the key",
    "4. The AWS CLI pushes the public key",
    "5. After the push, sshd accepts the key",
    "6. The lifetime runs; halfway through it, sshd still accepts the key",
    "7. The key has expired: sshd refuses it",
    "8. The demo removes everything that it made",
]


def run_demo(lifetime: int, config: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run the demo with a daemon whose configuration differs from what the demo promises."""
    program = (
        "import json, sys; from tests.e2e.demo import run;"
        "sys.exit(run(int(sys.argv[1]), json.loads(sys.argv[2])))"
    )
    return subprocess.run(
        [sys.executable, "-c", program, str(lifetime), json.dumps(config)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip


def assert_steps(output: str) -> None:
    """Fail unless every step was shown in order, each with an observation."""
    lines = output.splitlines()
    shown = [number for number, line in enumerate(lines) if line in STEPS]
    assert [lines[number] for number in shown] == STEPS, output
    assert all(lines[number + 1].startswith("   ") for number in shown), output


def test_the_demo_shows_every_step_and_cleans_up() -> None:
    """The demo shows every step, cleans up and ends with 0."""
    # Not the shortest lifetime: on a busy machine a login alone takes seconds.
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.demo", "--lifetime", "10"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert_steps(done.stdout)
    (folder,) = (line for line in done.stdout.splitlines() if line.endswith(": removed"))
    assert not Path(folder.strip().split(":")[0]).exists()
    made = [line.split()[2] for line in done.stdout.splitlines() if "made for this demo" in line]
    assert len(made) == IS_ROOT
    assert not set(made) & {each.pw_name for each in pwd.getpwall()}


def test_the_picture_in_the_readme_shows_these_steps() -> None:
    """docs/demo.svg, which `make screenshots` makes, shows every step of the present demo."""
    drawn = (ROOT / "docs" / "demo.svg").read_text("utf-8").replace("&#160;", " ")
    shown = re.findall(r">(\d\. [^<]+)<", drawn)
    assert [html.unescape(each).rstrip() for each in shown] == STEPS


@pytest.mark.parametrize(
    ("lifetime", "config", "promise"),
    [
        (6, {"keys": {"lifetime": 60}}, "an expired key is refused"),
        (6, {"keys": {"types": ["ssh-rsa"]}}, "the push succeeds"),
        (12, {"keys": {"lifetime": 4}}, "the key is accepted until its lifetime ends"),
    ],
    ids=["keys live too long", "keys are not taken", "keys die too soon"],
)
def test_the_demo_fails_when_the_daemon_behaves_differently(
    lifetime: int, config: dict[str, Any], promise: str
) -> None:
    """With a daemon that behaves differently, the demo reports it, cleans up and ends with 1."""
    done = run_demo(lifetime, config)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"NOT AS PROMISED: {promise}" in done.stdout
    assert ": removed" in done.stdout


def test_a_daemon_that_does_not_start_is_reported() -> None:
    """If the daemon does not start, the demo shows its error and ends with 1."""
    done = run_demo(6, {"keys": {"lifetime": 61}})
    assert done.returncode == 1
    assert "CANNOT RUN: the daemon is not ready (exit code 2)" in done.stdout
    assert "keys.lifetime" in done.stdout


@pytest.fixture
def someone_elses_checkout() -> Iterator[tuple[str, Path]]:
    """An ordinary user, with a clone of the project in the home directory."""
    with work_directory() as home, os_user(str(home)) as user:
        checkout = home / "sixtykey"
        for path in project_files():
            copy = checkout / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        for path in [home, *home.rglob("*")]:
            shutil.chown(path, user)
        yield user, checkout


@pytest.mark.skipif(not IS_ROOT, reason="only root can become an ordinary user")
@pytest.mark.timeout(400)
def test_an_ordinary_user_makes_the_demo(someone_elses_checkout: tuple[str, Path]) -> None:
    """`make demo LIFETIME=5` succeeds for an ordinary user in a fresh clone."""
    user, checkout = someone_elses_checkout
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    done = subprocess.run(
        ["make", "demo", "LIFETIME=5"],
        cwd=checkout, user=user, group=user, extra_groups=[],
        env={"PATH": "/usr/bin:/bin", "HOME": str(checkout.parent), "LC_ALL": "C.UTF-8", **pip},
        capture_output=True, text=True, check=False, timeout=380,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"run by {user}" in done.stdout
    assert_steps(done.stdout)
