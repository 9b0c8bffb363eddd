"""Changes several files together, and restores all of them on failure."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple, Optional

# In the file's own folder, so that each step is one rename. No Include pattern matches the names.
_DRAFT, _KEPT = ".sixtykey-new", ".sixtykey-kept"


class Change(NamedTuple):
    """A file's new content; None removes the file. A new file gets the mode of `like`."""

    path: str
    content: Optional[str]
    like: str = ""


@contextmanager
def apply(changes: Sequence[Change]) -> Iterator[None]:
    """Make the changes, then run the body. If it raises, restore every file.

    To restore a file, the old one is renamed back: that needs no disk space, and keeps its mode,
    owner and label.

    Raises:
        OSError: a file cannot be written; all files are restored.
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
    """Link the file to a second name; returns whether the file exists."""
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
    """Give a draft the mode and owner of the file that it replaces; a new file gets 0644."""
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
        # If the file was not changed yet, both names link to one file, and the rename does nothing.
        _remove(path + _KEPT)
    else:
        _remove(path)
        _remove_folder(path)


def _remove_folder(path: str) -> None:
    """Remove the folder of a unit's drop-ins if it is empty."""
    folder = os.path.dirname(path)
    if folder.endswith(".service.d"):
        with suppress(OSError):
            os.rmdir(folder)


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
