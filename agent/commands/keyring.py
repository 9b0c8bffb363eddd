"""Edits the credentials file as text: adds or removes an entry, and leaves all else unchanged.

PyYAML would lose the administrator's comments, so the lines are edited; the result is parsed
strictly before it replaces the file.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import secrets
import string
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import yaml

from agent.client.trouble import FORBIDDEN, REFUSED, Trouble
from agent.config.document import MAX_BYTES, Problems
from agent.config.settings import Keys
from agent.host import files
from agent.sources.api import credentials

# AWS's ids begin with A (AKIA, ASIA, ...). Ours do not, so that neither people nor scanners for
# leaked AWS keys confuse them.
PREFIX = "S60K"
_ID_LETTERS = string.ascii_uppercase + "234567"
# No character that is special in a shell, YAML or a URL; 40 of these are 238 bits.
_SECRET_LETTERS = string.ascii_letters + string.digits
_GROUP = "sixtykey"
_HEADER = "# Access keys for sixtykeyd; see sixtykey(1), credentials.\n"


def new_pair() -> tuple[str, str]:
    """An access key id (20 characters) and a secret (40), from the system's randomness."""
    identifier = PREFIX + "".join(secrets.choice(_ID_LETTERS) for _ in range(16))
    return identifier, "".join(secrets.choice(_SECRET_LETTERS) for _ in range(40))


def entry(identifier: str, secret: str, allow: Mapping[str, Any], expires: str) -> dict[str, Any]:
    """One credential in the file's form; defaults are left out."""
    made: dict[str, Any] = {"access_key_id": identifier, "secret_access_key": secret}
    if expires:
        made["expires"] = expires
    made["allow"] = {name: _plain(values) for name, values in allow.items() if values}
    return made


def _plain(values: Any) -> Any:
    return dict(values) if isinstance(values, Mapping) else list(values)


def _block(made: Mapping[str, Any]) -> list[str]:
    """The lines of an entry. JSON's strings and lists are valid YAML."""
    allow = [f"    {name}: {_json(values)}" for name, values in made["allow"].items()]
    lines = [f"  {n}: {_json(value)}" for n, value in made.items() if n != "allow"]
    today = time.strftime("%Y-%m-%d", time.gmtime())
    return [f"- {lines[0][2:]}  # made {today}", *lines[1:], "  allow:", *allow]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def add_entry(text: str, made: Mapping[str, Any]) -> str:
    """The file's text with an entry added at the end. Raises Trouble: it is not a list."""
    node = _list(text)
    if node is not None and node.flow_style:
        end = node.value[-1].end_mark.index
        return f"{text[:end]},\n {_json(made)}{text[end:]}"
    column = 0
    if node is None:
        # Empty, only comments, or `[]`: block style cannot follow that.
        text = "".join(line for line in text.splitlines(keepends=True) if line.strip() != "[]")
    else:
        first = text.splitlines()[node.value[0].start_mark.line]
        column = len(first) - len(first.lstrip())
    if text and not text.endswith("\n"):
        text += "\n"
    return text + "".join(f"{' ' * column}{line}\n" for line in _block(made))


def remove_entry(text: str, identifier: str) -> str:
    """The file's text without that entry; comments around it stay. Raises Trouble: not found."""
    node = _list(text)
    items = [] if node is None else node.value
    found = [place for place, item in enumerate(items) if _id(item) == identifier]
    if node is None or not found:
        raise Trouble(
            REFUSED,
            "NoSuchCredential",
            f"there is no access key {identifier}",
            "sixtykey credentials list shows them",
        )
    return (_cut_flow if node.flow_style else _cut_lines)(text, items, found[0])


def _cut_lines(text: str, items: Sequence[yaml.Node], place: int) -> str:
    lines = text.splitlines(keepends=True)
    # From its dash to its last line: the parser's end mark includes following comments.
    first, last = items[place].start_mark.line, _last_line(items[place])
    while not lines[first].lstrip().startswith("-"):
        first -= 1  # The dash is on a separate line.
    return "".join(lines[:first] + lines[last + 1 :])


def _cut_flow(text: str, items: Sequence[yaml.Node], place: int) -> str:
    """Cut it out of [a, b, c], with its comma."""
    start, end = items[place].start_mark.index, items[place].end_mark.index
    if place + 1 < len(items):
        end = items[place + 1].start_mark.index
    elif place:
        start = items[place - 1].end_mark.index
    return text[:start] + text[end:]


def _list(text: str) -> Optional[yaml.SequenceNode]:
    """The file's list, or None if it has no entry; the file was parsed strictly before."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        # The message may quote a secret. Parsed strictly before, so only the other parser accepts
        # it.
        raise Trouble(REFUSED, "Credentials", "this file cannot be edited by the command") from None
    if node is None or (isinstance(node, yaml.SequenceNode) and not node.value):
        return None
    return node if isinstance(node, yaml.SequenceNode) else None


def _id(item: yaml.Node) -> Optional[str]:
    pairs = item.value if isinstance(item, yaml.MappingNode) else []
    return next((str(v.value) for k, v in pairs if k.value == "access_key_id"), None)


def _last_line(node: yaml.Node) -> int:
    """The last line of the node (a block's end mark is after it)."""
    if isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    mark = node.end_mark
    # A block scalar (| or >) ends at the beginning of the line after it.
    return mark.line - 1 if mark.column == 0 and mark.line > node.start_mark.line else mark.line


def edit(path: str, host: Keys, change: Callable[[str], str]) -> credentials.Credentials:
    """Replace the file's text by `change` of it, atomically, and locked against other editors.

    Args:
        path: the file.
        host: the host's rules for keys, which no credential may widen.
        change: takes the text and returns the new one.
    Raises:
        Trouble: it cannot be read or written, or the result is invalid. The file is unchanged.
    """
    path = os.path.realpath(path)
    try:
        with files.locked(os.path.dirname(path)):
            text = _read(path)
            _parse(text, path, host)
            new = change(text)
            parsed = _parse(new, path, host)
            _replace(path, new)
            return parsed
    except OSError as error:
        words = f"{error.filename or path}: {error.strerror}"
        if isinstance(error, PermissionError):
            raise Trouble(
                FORBIDDEN, "Forbidden", words, "run it as root: sudo sixtykey ..."
            ) from None
        raise Trouble(REFUSED, "File", words) from None


def _parse(text: str, path: str, host: Keys) -> credentials.Credentials:
    try:
        return credentials.parse(text, path, host)
    except Problems as problems:
        words = "; ".join(problems.problems)
        raise Trouble(REFUSED, "Credentials", words, "the file was not changed") from None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return _HEADER
    except UnicodeDecodeError:
        raise Trouble(REFUSED, "Credentials", f"{path} is not UTF-8") from None


def _replace(path: str, text: str) -> None:
    """Write a temporary file, sync it, and rename it over the old one, with its owner and mode."""
    draft = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)  # Left by a run that was killed: we hold the lock.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            _as_before(path, descriptor)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _as_before(path: str, descriptor: int) -> None:
    """Set the old file's owner and mode; for a new one, readable by the daemon and no others."""
    try:
        status: Any = os.stat(path)
        uid, gid, mode = status.st_uid, status.st_gid, status.st_mode & 0o777
    except FileNotFoundError:
        uid, gid, mode = os.geteuid(), os.getegid(), 0o600
        if uid == 0:
            with contextlib.suppress(KeyError):
                # In a gateway's folder, which is its group's: for that; else for the daemon.
                gid = os.stat(os.path.dirname(path)).st_gid or grp.getgrnam(_GROUP).gr_gid
                mode = 0o640
    # fchown first, so that the mode is never wider than intended.
    os.fchown(descriptor, uid, gid)
    os.fchmod(descriptor, mode)
