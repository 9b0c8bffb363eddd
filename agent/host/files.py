"""Files that are replaced atomically: a reader sees the old text or the new one."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import logging
import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Callable, Optional

log = logging.getLogger("sixtykeyd")


def replace(path: str, text: str, mode: int, group: Optional[str] = None) -> None:
    """Write a temporary file, flush it to the disk, and rename it over the old one. Raises OSError.

    Args:
        mode: such as 0o640; it is never wider than this.
        group: who else may use it. If it does not exist, only the owner may, which is logged.
    """

    def set_mode(descriptor: int) -> None:
        if group is not None:
            os.fchown(descriptor, -1, gid_of(group))
        os.fchmod(descriptor, mode)

    _replace(path, text, set_mode)


def rewrite(path: str, text: str, mode: int) -> None:
    """Replace a file by one with its owner and mode; `mode` is for a new one. Raises OSError."""

    def set_mode(descriptor: int) -> None:
        try:
            before = os.stat(path)
        except FileNotFoundError:
            os.fchmod(descriptor, mode)
        else:
            os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, before.st_mode & 0o777)

    _replace(path, text, set_mode)


def _replace(path: str, text: str, set_mode: Callable[[int], None]) -> None:
    draft = f"{path}.new-{os.getpid()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            set_mode(descriptor)
            os.fsync(descriptor)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Lock the folder, and not the files in it, which are replaced (flock(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@lru_cache(maxsize=16)
def gid_of(group: str) -> int:
    """The group's id, or our own group's if there is none of this name, which is logged."""
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        log.warning("there is no group %s: its files get the group of this process", group)
        return os.getegid()


def read(path: str, most: int) -> str:
    """A file's text. Raises OSError; ValueError when it is larger than `most` bytes, or no text."""
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read(most + 1)
    if len(text) > most:
        raise ValueError(f"larger than {most} bytes")
    return text
