"""Completion of host names in bash and zsh, with names that a shell would execute among them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from agent.client import targets
from agent.commands import hosts as hosts_command
from agent.commands import options
from tests.parts import zsh
from tests.parts.host import ROOT, tool

RUN = "touch${IFS}RAN"
NAMES = [f"$({RUN})", f"`{RUN}`", "web-1", "--config", f"a;{RUN}", "a(e:x:)"]


@pytest.fixture
def completing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A home with such host names kept for completion, and a `sixtykey` that shells can start."""
    environ = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    program = tmp_path / "sixtykey"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {tool("python3", "python3")} '
                       '-m agent.cli "$@"\n')  # fmt: skip
    program.chmod(0o755)
    targets.cache_names(environ, NAMES)
    monkeypatch.chdir(tmp_path)
    return environ


def test_names_for_completion_are_ones_that_can_be_connected_to(
    completing: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only valid host names are printed for shell completion."""
    for name, value in completing.items():
        monkeypatch.setenv(name, value)
    given = options.Options()
    given.add("--kept", "")
    hosts_command.run(given, [])
    assert capsys.readouterr().out == "web-1\n"


def test_completion_in_bash_executes_no_host_name(
    completing: dict[str, str], tmp_path: Path
) -> None:
    """Completion in bash does not execute a command in a host's name."""
    script = ROOT / "packaging" / "completion" / "bash" / "sixtykey"
    program = f"source {script}; COMP_WORDS=(sixtykey ssh ''); COMP_CWORD=2; _sixtykey; "
    program += 'printf "%s\\n" "${COMPREPLY[@]}"'
    bash = ["bash", "--norc", "-c", program]
    done = subprocess.run(bash, env=completing, capture_output=True, text=True, check=True)
    assert not (tmp_path / "RAN").exists()
    assert done.stdout == "web-1\n"


def test_completion_in_zsh_executes_no_host_name(
    completing: dict[str, str], tmp_path: Path
) -> None:
    """Completion in zsh does not execute a command in a host's name."""
    assert zsh.complete("sixtykey ssh ", tmp_path, completing) == "sixtykey ssh web-1 "
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("ssh alice@we", "ssh alice@web-1"),
        ("ssh --jump bob@", "ssh --jump bob@web-1"),
        ("why alice@w", "why alice@web-1"),
        ("proxy alice we", "proxy alice web-1"),
        ("known-hosts w", "known-hosts web-1"),
        ("hosts w", "hosts web-1"),
    ],
)
def test_both_shells_complete_a_host_after_a_user(
    completing: dict[str, str], tmp_path: Path, typed: str, line: str
) -> None:
    """bash and zsh complete the host in USER@HOST, wherever a host may stand."""
    assert zsh.complete(f"sixtykey {typed}", tmp_path, completing) == f"sixtykey {line} "
    script = ROOT / "packaging" / "completion" / "bash" / "sixtykey"
    words = f"sixtykey {typed}".split(" ")
    program = f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
    program += '_sixtykey; printf "%s\\n" "${COMPREPLY[@]}"'
    bash = ["bash", "--norc", "-c", program]
    done = subprocess.run(bash, env=completing, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [line.rsplit(" ", maxsplit=1)[-1]]
