"""The host keys that a gateway certifies, in a file for ssh's KnownHostsCommand.

ssh's own files and StrictHostKeyChecking apply as before. ssh accepts a key from here without
asking the user (ssh_config(5), KnownHostsCommand).
"""

from __future__ import annotations

import os

from agent.client import folders, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.client.folders import Environment


def file_of(environ: Environment) -> str:
    """The file, in the form of known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    return os.path.join(folders.settings_folder(environ), "known_hosts")


def name_of(host: str, port: int) -> str:
    """The name under which ssh looks for a host: without a port for port 22."""
    return host if port == 22 else f"[{host}]:{port}"


def create(environ: Environment) -> None:
    """Make the file if it is missing: ssh fails when KnownHostsCommand fails. Raises Trouble."""
    path = file_of(environ)
    folders.make_private(os.path.dirname(path))
    if not os.path.exists(path):
        folders.write(path, "")


def replace_keys(environ: Environment, host: str, port: int, keys: Sequence[str]) -> None:
    """Replace the host's keys by these, as TYPE BASE64; may be empty. Raises Trouble."""
    path, name = file_of(environ), name_of(host, port).lower()
    folder = folders.make_private(os.path.dirname(path))
    ours = [f"{name} {key}" for key in keys]
    if _lines_of(_read_lines(path), name) == ours and os.path.exists(path):
        return
    with folders.FileLock(os.path.join(folder, "known_hosts.lock")):
        lines = _read_lines(path)
        others = [line for line in lines if line not in _lines_of(lines, name)]
        folders.write(path, "".join(f"{line}\n" for line in [*others, *ours]))


def find_lines(environ: Environment, name: str) -> list[str]:
    """The lines for a host, by the name under which ssh looks for it."""
    return _lines_of(_read_lines(file_of(environ)), name.lower())


def _read_lines(path: str) -> list[str]:
    return (folders.read(path, limits.ANSWER_BYTES) or "").splitlines()


def _lines_of(lines: Sequence[str], name: str) -> list[str]:
    return [line for line in lines if line.startswith(f"{name} ")]
