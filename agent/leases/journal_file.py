"""Where a journal lies: whether its files are the daemon's alone, and still those it opened."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

# What SQLite keeps beside a database; of each, another's could change what is read (a journal of
# rollback is played back at opening).
SIDE_FILES = ("-wal", "-shm", "-journal")
Identity = tuple[int, int]


def make_owned(path: str) -> None:
    """Make the file if it is not there; raise OSError if anybody else could have written it.

    Whoever can write the journal decides who may log in, so what others left there is not read:
    neither the file, nor those beside it, nor anything in a folder that others can write to.
    """
    _check_folder(os.path.dirname(path) or ".")
    # Readable by nobody else from the first byte on: SQLite itself would make it 0644.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        # By the descriptor: another name cannot be put in its place between look and use.
        _check_file(os.fstat(descriptor), "it")
    finally:
        os.close(descriptor)
    check_owned(path)


def check_owned(path: str) -> None:
    """Raise OSError if anybody else could have written the journal or a file beside it.

    It looks only: to open the file and close it again would end SQLite's lock (fcntl_locking(2)).
    """
    _check_folder(os.path.dirname(path) or ".")
    for suffix in ("", *SIDE_FILES):
        with suppress(FileNotFoundError):
            _check_file(os.lstat(path + suffix), suffix or "it")


def copy_owned(path: str, copy: str) -> None:
    """Copy a journal that can only be read. Raises OSError if it cannot, or if it is not ours."""
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
    """Which files there are now, of the database and its log, by device and inode."""
    found: dict[str, Identity] = {}
    for name in (path, path + "-wal"):
        try:
            status = os.lstat(name)
        except OSError:
            continue
        found[name] = (status.st_dev, status.st_ino)
    return found


def set_aside(path: str) -> str:
    """Keep a damaged journal under another name: this one. Raises OSError."""
    aside = f"{path}.damaged"
    os.replace(path, aside)
    for suffix in SIDE_FILES:
        Path(path + suffix).unlink(missing_ok=True)
    return aside


def is_in_memory(path: str) -> bool:
    """Whether a journal there is on tmpfs, which no disk can make wait (proc(5), mountinfo)."""
    try:
        device = os.stat(os.path.dirname(path)).st_dev
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = {m.split(" - ")[1].split()[0] for m in mounts if m.split()[2] == number}
    return kinds == {"tmpfs"}


def _check_file(found: os.stat_result, name: str) -> None:
    ours = found.st_uid == os.geteuid() and found.st_nlink == 1 and not found.st_mode & 0o022
    if not (ours and stat.S_ISREG(found.st_mode)):
        raise PermissionError(errno.EPERM, f"{name} is not a file that this daemon alone can write")


def _check_folder(folder: str) -> None:
    # Sticky or not: in a folder where others may make files, they can make those beside ours.
    found = os.stat(folder)
    if found.st_uid not in {0, os.geteuid()} or found.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "its folder is not one that this daemon alone can write")
