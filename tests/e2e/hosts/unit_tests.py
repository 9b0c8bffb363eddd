"""Step: the unit tests pass on the host, with the distribution's Python and libraries.

pytest, hypothesis and the oracles (botocore and others, no library that sixtykey uses) come from
PyPI, because they are tools of the tests and not tested themselves.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

from tests.e2e.hosts.host import ALONE, Host
from tests.e2e.hosts.report import expect
from tests.parts.helper_kinds import command_of
from tests.parts.host import ROOT
from tests.parts.project import project_files

TOOLS = [
    "pytest>=8", "pytest-timeout", "pytest-xdist", "hypothesis", "freezegun", "boto3",
    "prometheus-client",
]  # fmt: skip
# Whole programs have other steps here; the rest needs git, or an idle machine.
LEFT_OUT = (
    *("tests/e2e", "tests/clients", "tests/commands", "tests/benchmarks", "tests/faults"),
    # A fleet needs a nats-server.
    *("tests/fleet", "tests/fuzz", "tests/packaging", "tests/sources/api/test_states.py"),
    *(
        "tests/test_structure.py",
        "tests/test_sizes.py",
        "tests/test_project.py",
        "tests/test_conftest.py",
        "tests/sources/api/test_hostile.py",
    ),
    # A compiler, and real logins, which have a step of their own.
    *(
        f"tests/helper/test_{name}.py"
        for name in ("compiled_helper", "login", "pam_account", "upgrade")
    ),
    # Every shell that a user may have; and the parts of a fleet.
    *(f"tests/client/test_{name}.py" for name in ("completion", "hostile_endpoint", "ssh_config")),
)

# Beside everything else that CI runs at this time; a test that hangs has a limit of its own.
_LIMIT_SECONDS = 1200


def install_tools(host: Host) -> None:
    """Install the tools into a directory of the host, for the host's Python."""
    version = host.python("print('%d.%d' % sys.version_info[:2])")
    target = host.machine.root / "opt/tools"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
    command += ["--python-version", version, "--only-binary", ":all:"]
    subprocess.run([*command, *TOOLS], check=True)


def run(host: Host) -> None:
    """Run as root and as in CI: no test is skipped."""
    with host.report.step("unit tests, with the distribution's own packages") as seen:
        source = host.machine.root / "opt/source"
        for path in project_files():
            target = source / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        install_tools(host)
        helpers = host.machine.root / "opt/helpers"
        helpers.mkdir()
        shutil.copy(command_of("compiled")[0], helpers)
        left_out = " ".join(f"--ignore={name}" for name in LEFT_OUT)
        command = (
            "cd /opt/source && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/opt/tools CI=true "
            "SIXTYKEY_TEST_HELPERS=/opt/helpers "
            f"python3 -m pytest -q -n 2 -p no:cacheprovider {left_out} tests"
        )
        with ALONE:
            done = host.machine.run("sh", "-c", command, check=False, limit=_LIMIT_SECONDS)
        versions = host.machine.shell(
            "dpkg-query -W python3 python3-paramiko python3-cachetools python3-yaml python3-h11"
        )
        seen.append(" ".join(versions.split()))
        seen.append((done.stdout or done.stderr)[-3000:].strip().splitlines()[-1])
        failures = re.findall(r"^(?:FAILED|ERROR).*", done.stdout, re.MULTILINE)
        expect(done.returncode == 0, "\n".join(failures) + done.stderr[-1000:])
