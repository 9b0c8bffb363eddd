"""Adds or removes a top-level section of a YAML file as text, so that other comments stay."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Union

import yaml

from agent.client.trouble import FORBIDDEN, REFUSED, Trouble
from agent.config import file as config_file
from agent.config.document import MAX_BYTES, Problems
from agent.host import files

Value = Union[str, Sequence[str]]


def put(text: str, name: str, members: Mapping[str, Value]) -> str:
    """The text with this section at its end; an older one of that name is removed."""
    rest = cut(text, name)
    if rest and not rest.endswith("\n"):
        rest += "\n"
    return rest + "".join(f"{line}\n" for line in _block(name, members))


def cut(text: str, name: str) -> str:
    """The text without this section. Raises Trouble: the file is written in another style."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        raise _unreadable("it is not YAML") from None
    if root is None:
        return text
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise _unreadable("it is not a mapping with a line for each section")
    lines, kept = text.splitlines(keepends=True), list(root.value)
    for place, (key, value) in enumerate(kept):
        if key.value == name:
            first = key.start_mark.line
            last = _last_line(value, key)
            following = kept[place + 1][0].start_mark.line if place + 1 < len(kept) else len(lines)
            # Comments between this section and the next stay: they may be the next one's.
            return "".join(lines[:first] + lines[min(last + 1, following) :])
    return text


def edit(path: str, name: str, members: Mapping[str, Value]) -> bool:
    """Put the section into the configuration, or remove it if there are no members.

    Returns whether the file has changed.

    Raises:
        Trouble: the file cannot be read or written, or would be invalid. It is unchanged.
    """
    try:
        with files.locked(os.path.dirname(os.path.realpath(path))):
            before = _read(path)
            after = put(before, name, members) if members else cut(before, name)
            if after != before:
                config_file.parse(after, path)
                files.rewrite(os.path.realpath(path), after, 0o644)
            return after != before
    except Problems as problems:
        words = "; ".join(problems.problems)
        raise Trouble(REFUSED, "Configuration", words, "the file was not changed") from None
    except OSError as error:
        code = FORBIDDEN if isinstance(error, PermissionError) else REFUSED
        raise Trouble(code, "File", f"{error.filename or path}: {error.strerror}") from None


def _block(name: str, members: Mapping[str, Value]) -> list[str]:
    lines = [f"{name}:"]
    for key, value in members.items():
        if isinstance(value, str):
            lines.append(f"  {key}: {value}")
        else:
            lines.append(f"  {key}:")
            lines += [f"    - {item}" for item in value]
    return lines


def _last_line(node: yaml.Node, key: yaml.Node) -> int:
    """The last line of the node's content; the end mark of a block comes after it."""
    if isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        return _last_line(last[1], last[0]) if isinstance(last, tuple) else _last_line(last, last)
    mark = node.end_mark
    if mark.column == 0 and mark.line > node.start_mark.line:
        return mark.line - 1
    return max(mark.line, key.end_mark.line)


def _read(path: str) -> str:
    try:
        return files.read(path, MAX_BYTES)
    except FileNotFoundError:
        return ""
    except ValueError as error:
        raise _unreadable(str(error)) from None


def _unreadable(why: str) -> Trouble:
    return Trouble(
        REFUSED, "Configuration", f"the configuration cannot be edited: {why}", "edit it by hand"
    )
