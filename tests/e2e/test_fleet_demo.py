"""`make demo-fleet` keeps its promises, in a separate network and on loopback alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.parts.host import IS_ROOT, ROOT

LAST = "9. The demo removes everything that it made"


def run_demo(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as `make demo-fleet` does, or Python with these arguments instead."""
    return subprocess.run(
        [sys.executable, *(words or ("-m", "tests.e2e.fleet_demo"))],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_the_fleets_demo_shows_every_step_and_cleans_up() -> None:
    """The fleet's demo shows every step, cleans up and ends with 0."""
    done = run_demo()
    assert done.returncode == 0, done.stdout + done.stderr
    assert LAST in done.stdout.splitlines()
    assert ": removed" in done.stdout


@pytest.mark.timeout(300)
@pytest.mark.skipif(not IS_ROOT, reason="without root the demo is on loopback anyway")
def test_the_fleets_demo_does_without_a_network_of_its_own() -> None:
    """Without network namespaces, as for an ordinary user, the demo succeeds on loopback."""
    program = "import sys; from tests.e2e.fleet_demo import run; sys.exit(run(False))"
    done = run_demo("-c", program)
    assert done.returncode == 0, done.stdout + done.stderr
