"""The help, manual and completions of sshd-setup name the same options."""

from __future__ import annotations

import re
import subprocess

import pytest

from agent.sshd_setup.command import main
from tests.parts.host import ROOT, tool

COMPLETION = ROOT / "packaging" / "completion"
# Only for tests: the root of the host's files.
HIDDEN = {"--root"}


@pytest.fixture
def options(capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Every option that the help shows."""
    with pytest.raises(SystemExit):
        main(["--help"])
    found = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert {"--chain", "--replace", "--one-time", "--help"} <= found
    assert not found & HIDDEN
    return found


def test_the_manual_explains_every_option_and_renders(options: set[str]) -> None:
    """The manual has an entry for each option, and groff formats it without a warning."""
    page = ROOT / "packaging" / "man" / "sshd-setup.8"
    text = page.read_text("utf-8").replace("\\-", "-")
    assert set(re.findall(r"^\.BI? (--[a-z-]+)", text, re.MULTILINE)) == options
    done = subprocess.run(
        [tool("groff", "groff-base"), "-man", "-Tutf8", "-ww", "-z", str(page)],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert done.stderr == ""


def test_bash_completes_actions_and_options(options: set[str]) -> None:
    """bash completes the actions and, after a dash, exactly the options."""
    program = (
        'source "$0"; COMP_WORDS=(sshd-setup "$1"); COMP_CWORD=1; '
        'complete -p sshd-setup >/dev/null || exit 1; _sshd_setup; echo "${COMPREPLY[@]}"'
    )

    def offered(word: str) -> set[str]:
        command = ["bash", "--norc", "-c", program, str(COMPLETION / "bash" / "sshd-setup"), word]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return set(done.stdout.split())

    assert offered("") == {"enable", "disable"}
    assert offered("--") == options


def test_zsh_completes_actions_and_options(options: set[str]) -> None:
    """zsh completes the actions and exactly the options."""
    script = (COMPLETION / "zsh" / "_sshd-setup").read_text("utf-8")
    done = subprocess.run(
        [tool("zsh", "zsh"), "-f", "-c", f"_arguments() {{ print -rl -- $@ }}\n{script}"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert set(re.findall(r"^(?:\([^)]*\))?(--[a-z-]+)", done.stdout, re.MULTILINE)) == options
    assert "(enable disable)" in done.stdout
