"""packaging/install-files puts each file into its package."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from tests.parts.host import ROOT, tool
from tests.parts.project import project_files

SCRIPT = ROOT / "packaging" / "install-files"
# Folders whose files must all be in some package.
SHIPPED = (
    "packaging/man",
    "packaging/launchers",
    "packaging/completion",
    "packaging/config",
    "systemd",
)


def test_the_script_names_every_file_to_install() -> None:
    """The script names every manual page, launcher, completion, unit, user and preset."""
    text = SCRIPT.read_text("utf-8")
    paths = [str(path.relative_to(ROOT)) for path in project_files()]
    names = [path.rpartition("/")[2] for path in paths if path.startswith(SHIPPED)]
    assert len(names) > 30
    assert [name for name in names if name not in text] == []


def test_the_programs_that_sshd_and_pam_run_are_compiled(tmp_path: Path) -> None:
    """Both programs that sshd and PAM run are compiled, and only their owner may write them."""
    tool("gcc", "gcc")
    folder = tmp_path / "root"
    command = [str(SCRIPT), "sixtykey", platform.machine(), str(folder), "/units", "/zsh"]
    subprocess.run(command, check=True, timeout=100)
    library = folder / "usr" / "lib" / "sixtykey"
    for name in ("authorized-keys", "pam-account"):
        program = library / name
        assert program.read_bytes().startswith(b"\x7fELF")
        assert program.stat().st_mode & 0o777 == 0o755
        done = subprocess.run([program, "--help"], capture_output=True, check=False, timeout=60)
        assert b"usage: " + name.encode() in done.stdout + done.stderr
    first = (library / "authorized-keys-python").read_text("utf-8").splitlines()[0]
    assert first == "#!/usr/bin/python3 -IS"


def test_an_unknown_package_is_an_error(tmp_path: Path) -> None:
    """A misspelt package name is an error and creates no folder."""
    command = [str(SCRIPT), "sixtykey-fleets", "x86_64", str(tmp_path / "root"), "/units", "/zsh"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "no package sixtykey-fleets" in done.stderr
    assert not (tmp_path / "root").exists()


def test_a_processor_without_a_compiler_is_an_error(tmp_path: Path) -> None:
    """If there is no compiler for the processor, the script fails and installs no helper."""
    command = [str(SCRIPT), "sixtykey", "sparc64", str(tmp_path / "root"), "/units", "/zsh"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert not (tmp_path / "root" / "usr/lib/sixtykey/authorized-keys").exists()
