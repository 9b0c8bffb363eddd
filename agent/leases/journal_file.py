"""Checks a journal's files: only the daemon can write them, and they are the ones it opened."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress

# The files that SQLite keeps beside a database. A foreign one could change what is read (a rollback
# journal is played back on opening).
SIDE_FILES = ("-wal", "-shm", "-journal")
Identity = tuple[int, int]


def make_owned(path: str) -> None:
    """Make the file if it is missing; raise OSError if another user could have written it.

    The journal decides who may log in, so a file that others could have written is not read:
    neither the database, nor the files beside it, nor anything in a folder that others can write
    to.
    """
    _check_folder(os.path.dirname(path) or ".")
    # Readable by nobody else from the first byte: SQLite itself would create it with 0644.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        # Checked through the descriptor: the file cannot be exchanged between check and use.
        _check_file(os.fstat(descriptor), "it")
    finally:
        os.close(descriptor)
    check_owned(path)


def check_owned(path: str) -> None:
    """Raise OSError if another user could have written the journal or a file beside it.

    The files are not opened: closing one again would release SQLite's lock (fcntl_locking(2)).
    """
    _check_folder(os.path.dirname(path) or ".")
    for suffix in ("", *SIDE_FILES):
        with suppress(FileNotFoundError):
            _check_file(os.lstat(path + suffix), suffix or "it")


def copy_owned(path: str, copy: str) -> None:
    """Copy a read-only journal. Raises OSError, also if others could have written it."""
    _check_folder(os.path.dirname(path) or ".")
    for suffix in ("", "-wal"):
        try:
            descriptor = os.open(path + suffix, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        with open(descriptor, "rb") as source, open(copy + suffix, "xb") as target:
            _check_file(os.fstat(descriptor), suffix or "it")
            shutil.copyfileobj(source, target)


def identities(path: str) -> dict[str, Identity]:
    """Device and inode of the database and its log, if they exist."""
    found: dict[str, Identity] = {}
    for name in (path, path + "-wal"):
        try:
            status = os.lstat(name)
        except OSError:
            continue
        found[name] = (status.st_dev, status.st_ino)
    return found


def set_aside(path: str) -> str:
    """Rename a damaged journal; returns its new name. Raises OSError."""
    aside = f"{path}.damaged"
    os.replace(path, aside)
    for suffix in SIDE_FILES:
        with suppress(FileNotFoundError):
            os.unlink(path + suffix)
    return aside


def this_boot() -> str:
    """The kernel's name for this boot (random(4))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def is_in_memory(path: str) -> bool:
    """Whether a journal there is on tmpfs, which never waits for a disk (proc(5), mountinfo)."""
    try:
        device = os.stat(os.path.dirname(path)).st_dev
        # Not splitlines(): a mount point that a user has named may hold other line ends.
        with open("/proc/self/mountinfo", errors="replace", newline="\n") as file:
            mounts = [line.split(" ") for line in file.read().split("\n") if line]
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = {each[each.index("-", 6) + 1] for each in mounts if each[2] == number}
    return kinds == {"tmpfs"}


def _check_file(found: os.stat_result, name: str) -> None:
    ours = found.st_uid == os.geteuid() and found.st_nlink == 1 and not found.st_mode & 0o022
    if not (ours and stat.S_ISREG(found.st_mode)):
        raise PermissionError(errno.EPERM, f"{name} is not a file that this daemon alone can write")


def _check_folder(folder: str) -> None:
    # Sticky or not: if others can make files in the folder, they can make those beside the
    # database.
    found = os.stat(folder)
    if found.st_uid not in {0, os.geteuid()} or found.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "its folder is not one that this daemon alone can write")
