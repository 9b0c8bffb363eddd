"""sixtykeyd-ec2 as a command: its start, its output, and its end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from agent.config.limits import LIMITS
from agent.sources.feed.members import MAX_BYTES
from agent.sources.feed.messages import Answer, Offered, Refusal, encode
from agent.sources.metadata.process import fitting
from tests.parts.ec2_process import RunningEc2
from tests.parts.ec2_signer import Ec2Signer
from tests.parts.host import ROOT
from tests.sources.metadata.whole import host


def run(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command until it ends."""
    command = [sys.executable, "-m", "agent.sources.metadata", "--config", str(config), *words]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "no ec2 section"), ({"ec2": {"roots": "relative"}}, "ec2.roots"),
        ({"ec2": {"other": 1}}, "ec2.other"), ({"nonsense": 1}, "nonsense"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_status_2(
    tmp_path: Path, settings: dict[str, object], reason: str
) -> None:
    """A wrong configuration ends the command with status 2 and a message."""
    config = tmp_path / "config.yaml"
    identity = {"instance": {"id": "i-0f1e2d3c4b5a69788"}}
    config.write_text(yaml.safe_dump({**identity, **settings}))
    done = run(config)
    assert done.returncode == 2
    assert reason in done.stderr


def test_the_process_needs_neither_paramiko_nor_the_daemons_modules() -> None:
    """The command imports no key parser and no module of the daemon's core."""
    program = (
        "import sys, agent.sources.metadata.__main__\n"
        "print(*[name for name in sys.modules if name.split('.')[0] in {'paramiko', 'nacl'} or "
        "name.startswith(('agent.leases', 'agent.audit', 'agent.lookup', 'agent.sources.api'))])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == ""


def test_the_process_prints_its_version_and_its_options(tmp_path: Path) -> None:
    """The command has --version and --help."""
    assert run(tmp_path / "x", "--version").stdout.startswith("sixtykeyd-ec2 ")
    assert "--config FILE" in run(tmp_path / "x", "--help").stdout


def test_sigterm_ends_it(signer: Ec2Signer) -> None:
    """On SIGTERM the command ends with status 0 and without an error."""
    with host(signer) as made, RunningEc2(made.daemon) as source:
        assert source.process is not None
        source.process.send_signal(signal.SIGTERM)
        assert source.process.wait(30) == 0
        assert "Traceback" not in source.log()
        assert source.log().count("connected to") == 1


def test_offers_beyond_a_lines_length_are_left_out() -> None:
    """An answer is cut to the longest line that the daemon reads, and keeps the first offers."""
    offers = [
        Offered("alice", "i-00000000", "ssh-rsa " + "A" * 1400, 60.0, f"{n:064x}", 0.0, "c" * 2000)
        for n in range(100)
    ]
    refusals = [Refusal("r" * 300) for _ in range(100)]
    fits = fitting(Answer(1, offers, refusals))
    assert len(encode(fits)) <= MAX_BYTES
    assert fits.offers[0] == offers[0]
    assert 10 < len(fits.offers) < 100
    assert len(fitting(Answer(1, offers[:3], refusals)).refusals) == LIMITS.metadata_refusals
    assert fitting(Answer(2, offers[:3])) == Answer(2, offers[:3], [])
