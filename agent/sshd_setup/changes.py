"""Files that are changed together, and all put back when what comes of it does not do."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple, Optional

# Beside the file itself, so that each step is one rename; and no name that an Include would match.
_DRAFT, _KEPT = ".sixtykey-new", ".sixtykey-kept"


class Change(NamedTuple):
    """What a file shall hold; None: it shall not be there. A new one has the mode of `like`."""

    path: str
    content: Optional[str]
    like: str = ""


@contextmanager
def made(changes: Sequence[Change]) -> Iterator[None]:
    """Make the changes, and let the body look at them; what it raises puts every file back.

    Putting back is a rename of the file that was there: it needs no room on the disk, and mode,
    owner and label are those that it had.

    Raises:
        OSError: a file cannot be written; all are as they were.
    """
    kept: dict[str, bool] = {}
    try:
        for change in changes:
            kept[change.path] = _keep(change.path)
            _write(change)
        yield
    except BaseException:
        for path, was_there in reversed(list(kept.items())):
            _put_back(path, was_there)
        raise
    for path in kept:
        _remove(path + _KEPT)
        _remove_folder(path)


def _keep(path: str) -> bool:
    """Give the file a second name, and return whether there is one."""
    _remove(path + _KEPT)
    try:
        os.link(path, path + _KEPT)
    except FileNotFoundError:
        return False
    return True


def _write(change: Change) -> None:
    path, content, like = change
    if content is None:
        _remove(path)
        return
    draft = path + _DRAFT
    _remove(draft)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    try:
        with open(draft, "x", encoding="utf-8", errors="surrogateescape", newline="") as file:
            _dress(file.fileno(), like or path)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        _remove(draft)
        raise


def _dress(descriptor: int, like: str) -> None:
    """Give a draft the mode and owner of the file that it replaces; a new one is 0644."""
    try:
        old = os.stat(like)
    except FileNotFoundError:
        os.fchmod(descriptor, 0o644)
        return
    os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _put_back(path: str, was_there: bool) -> None:
    if was_there:
        os.replace(path + _KEPT, path)
        # Where it had not been changed, both are names of one file, and the rename does nothing.
        _remove(path + _KEPT)
    else:
        _remove(path)
        _remove_folder(path)


def _remove_folder(path: str) -> None:
    """A folder for a unit's drop-ins in which there is none (any more)."""
    folder = os.path.dirname(path)
    if folder.endswith(".service.d"):
        with suppress(OSError):
            os.rmdir(folder)


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
