"""packaging/sshd/sshd_setup.py against a real sshd's own reading of its files."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.parts.host import ROOT, tool

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd -T reads root's files")


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    """The script, as a module."""
    path = ROOT / "packaging" / "sshd" / "sshd_setup.py"
    spec = importlib.util.spec_from_file_location("sshd_setup", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sshd_setup"] = module
    spec.loader.exec_module(module)
    return module


class Etc:
    """An sshd_config with a host key and a directory for drop-ins, and what is done to it."""

    def __init__(self, folder: Path, setup: ModuleType) -> None:
        self.folder, self._setup = folder, setup
        self.config = folder / "sshd_config"
        self.drop_in = folder / "sshd_config.d" / setup.DROP_IN
        self.drop_in.parent.mkdir()
        key = folder / "host_key"
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", str(key)], check=True)
        self.write("")

    def write(self, above: str) -> None:
        """Write the main file, with these lines above the Include."""
        include = f"Include {self.drop_in.parent}/*.conf\n"
        self.config.write_text(f"{above}{include}HostKey {self.folder}/host_key\n")

    def run(self, *arguments: str) -> int:
        """Run the script; return its exit code."""
        sshd = tool("sshd", "openssh-server")
        options = ["--sshd", sshd, "--config", str(self.config), "--root", str(self.folder)]
        return int(self._setup.main([*arguments, *options]))

    def effective(self) -> dict[str, str]:
        """What sshd makes of its files."""
        host = self._setup.Host(tool("sshd", "openssh-server"), str(self.config))
        return dict(host.effective())


@pytest.fixture
def etc(tmp_path: Path, setup: ModuleType) -> Etc:
    """A host's files."""
    return Etc(tmp_path, setup)


def test_a_free_slot_is_taken_and_given_back(etc: Etc, setup: ModuleType) -> None:
    """Our two lines are what sshd reads; afterwards nothing of them is left."""
    assert etc.run("enable") == 0
    assert etc.effective()["authorizedkeyscommand"] == f"{setup.HELPER} %u %f"
    assert etc.effective()["authorizedkeyscommanduser"] == setup.HELPER_USER
    assert etc.run("enable") == 0
    assert etc.run("disable") == 0
    assert etc.effective()["authorizedkeyscommand"] == "none"
    assert not etc.drop_in.exists()


def test_another_user_above_ours_is_told(etc: Etc, capsys: pytest.CaptureFixture[str]) -> None:
    """As nobody the helper could not ask; success would be a lie, a file left behind too."""
    etc.write("AuthorizedKeysCommandUser nobody\n")
    assert etc.run("enable") == 1
    assert "or its user" in capsys.readouterr().err
    assert not etc.drop_in.exists()


def test_a_drop_in_of_somebody_else_is_kept(etc: Etc, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the same name, with a setting that matters: not a byte of it changes."""
    etc.drop_in.write_text("PermitRootLogin no\n")
    assert etc.run("enable") == 1
    assert "somebody else's" in capsys.readouterr().err
    assert etc.drop_in.read_text() == "PermitRootLogin no\n"
    assert etc.run("disable") == 0
    assert etc.drop_in.exists()


def test_an_existing_command_is_left_or_chained(etc: Etc, setup: ModuleType) -> None:
    """Left alone until chaining is asked for; then both are run, as the same user."""
    other = "AuthorizedKeysCommand /usr/bin/true %u\nAuthorizedKeysCommandUser root\n"
    (etc.drop_in.parent / "50-other.conf").write_text(other)
    assert etc.run("enable") == 3
    assert not etc.drop_in.exists()
    assert etc.run("enable", "--chain") == 0
    assert etc.effective()["authorizedkeyscommand"] == f'{setup.HELPER} --chain "/usr/bin/true" %u'
    assert etc.run("disable") == 0
    assert etc.effective()["authorizedkeyscommand"] == "/usr/bin/true %u"


def test_no_command_at_all_is_somebodys_decision(etc: Etc) -> None:
    """`none` is neither replaced nor chained."""
    (etc.drop_in.parent / "05-none.conf").write_text("AuthorizedKeysCommand none\n")
    assert etc.run("enable") == 3
    assert etc.run("enable", "--chain") == 1
    assert not etc.drop_in.exists()


@pytest.mark.parametrize("owner", [0, 65534])
def test_only_roots_sshd_has_options(
    etc: Etc, owner: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anybody may call a process sshd; and what root's was given is shown without its escapes."""
    process = etc.folder / "proc" / "4711"
    process.mkdir(parents=True)
    line = b"sshd\0-o\0AuthorizedKeysCommand=/x \x1b[2K\rroot, run this\0"
    (process / "cmdline").write_bytes(line)
    os.chown(process / "cmdline", owner, -1)
    assert etc.run("enable") == (3 if owner == 0 else 0)
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\r" not in said
