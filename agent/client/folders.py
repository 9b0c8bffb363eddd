"""The client's folders: for settings and the public key, and for caches.

No private key is ever written. Temporary credentials are kept in memory only: see `memory_folder`.
"""

from __future__ import annotations

import os
import stat

from agent.client.trouble import REFUSED, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Optional

    Environment = Mapping[str, str]

NAME = "sixtykey"


def settings_folder(environ: Environment) -> str:
    """~/.config/sixtykey, or below XDG_CONFIG_HOME (XDG Base Directory Specification)."""
    base = environ.get("XDG_CONFIG_HOME", "")
    if not base.startswith("/"):
        base = os.path.join(_home(environ), ".config")
    return os.path.join(base, NAME)


def _home(environ: Environment) -> str:
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        raise Trouble(
            REFUSED, "NoHome", "HOME is not set, so there is no folder for the public key"
        )
    return home


def runtime_folder(environ: Environment) -> Optional[str]:
    """The session's folder: private to its owner, and usually on tmpfs; or None.

    systemd removes XDG_RUNTIME_DIR when the last session ends (pam_systemd(8)).
    """
    base = environ.get("XDG_RUNTIME_DIR", "")
    if not base.startswith("/"):
        return None
    try:
        found = os.lstat(base)
    except OSError:
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        return None
    return make_private(os.path.join(base, NAME))


def memory_folder(environ: Environment) -> Optional[str]:
    """The session's folder, or None if it is on a disk: XDG_RUNTIME_DIR may be set to any place."""
    folder = runtime_folder(environ)
    if folder is None:
        return None
    try:
        with open("/proc/self/mountinfo", errors="replace", newline="\n") as file:
            mounts = file.read()
    except OSError:
        return None
    return folder if is_memory(mounts, os.stat(folder).st_dev) else None


def is_memory(mounts: str, device: int) -> bool:
    """Whether a device is in memory, by a text in the form of /proc/self/mountinfo (proc(5))."""
    number = f"{os.major(device)}:{os.minor(device)}"
    # ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS [FIELD...] - KIND SOURCE OPTIONS
    # Not splitlines(): a mount point that a user has named may hold other line ends.
    fields = [line.split(" ") for line in mounts.split("\n") if line]
    kinds = {each[each.index("-", 6) + 1] for each in fields if each[2] == number}
    return bool(kinds) and kinds <= {"tmpfs", "ramfs"}


def cache_folder(environ: Environment) -> str:
    """A folder for caches without secrets: the session's, if there is one."""
    return runtime_folder(environ) or make_private(settings_folder(environ))


def make_private(path: str) -> str:
    """Make the folder if it is missing, private to its owner. Raises Trouble: another owner's."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        found = os.stat(path)
        if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
            raise Trouble(REFUSED, "Folder", f"{path} is not your folder: move it away")
        if found.st_mode & 0o077:
            os.chmod(path, 0o700)
    except OSError as error:
        raise Trouble(REFUSED, "Folder", f"{path}: {error.strerror}") from None
    return path


class FileLock:
    """A lock between processes, as a `with` block; `path` is the lock's file (flock(2))."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> None:
        import fcntl

        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise Trouble(REFUSED, "Folder", f"{self._path}: {error.strerror}") from None

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def write(path: str, text: str) -> None:
    """Replace a file atomically, mode 0600: readers see the old text or the new. Raises Trouble."""
    draft = f"{path}.{os.getpid()}"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            left = text.encode()
            while left:
                left = left[os.write(descriptor, left) :]
        finally:
            os.close(descriptor)
        os.rename(draft, path)
    except OSError as error:
        raise Trouble(REFUSED, "Folder", f"{path}: {error.strerror}") from None


def read(path: str, most: int) -> Optional[str]:
    """Read our file; None when it is missing, another owner's, too large, or not text."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            found = os.fstat(descriptor)
            if found.st_uid != os.geteuid() or found.st_size > most:
                return None
            return os.read(descriptor, found.st_size).decode()
        finally:
            os.close(descriptor)
    except (OSError, UnicodeDecodeError):
        return None
