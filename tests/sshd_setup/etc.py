"""An sshd_config with a host key and a folder for drop-ins, and the command run on it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from agent.sshd_setup.command import main
from agent.sshd_setup.sshd import Sshd
from tests.parts.host import tool


class Etc:
    """The files of a host's sshd in one folder, which is also the host's root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sshd = Sshd(tool("sshd", "openssh-server"), str(folder / "sshd_config"), str(folder))
        self.config = Path(self.sshd.config)
        self.drop_in = Path(self.sshd.drop_in)
        self.drop_in.parent.mkdir()
        key = folder / "host_key"
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", str(key)], check=True)
        self.write("")

    def write(self, above: str) -> None:
        """Write the main file, with these lines above the Include."""
        include = f"Include {self.drop_in.parent}/*.conf\n"
        self.config.write_text(f"{above}{include}HostKey {self.folder}/host_key\n")

    def run(self, *arguments: str) -> int:
        """Run the command; return its exit code."""
        options = ["--sshd", self.sshd.program, "--config", self.sshd.config]
        return main([*arguments, *options, "--root", self.sshd.root])

    def files(self) -> set[str]:
        """The names of all files, except the lock, and the note that sshd-setup has been run."""
        found = (path.relative_to(self.folder) for path in self.folder.rglob("*"))
        return {str(path) for path in found if path.parts[0] not in {"run", "var"}}
