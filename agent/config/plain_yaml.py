"""Parses a plain subset of YAML: mappings, lists, strings, whole numbers, true, false, null.

PyYAML's safe_load keeps the last of repeated keys, reads `012` as ten and `on` as true, and quotes
the file in its errors, which may be a secret. Here only PyYAML's parser is used; what its events
mean is decided in this module, the same for its two parsers (libyaml's and its own).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Union

import yaml

# A configuration is a page of text; anything larger is not one.
MAX_BYTES = 1024 * 1024
# The deepest key of a configuration is three mappings deep.
MAX_DEPTH = 16
# libyaml's parser where PyYAML was built with it: it is ten times as fast.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_PLAIN_INT = re.compile(r"0|[1-9][0-9]{0,8}")
# Accepted by only one of the parsers: a comment directly after a block scalar's indicator, and in
# braces or brackets an unquoted key without a space after its colon.
_BLOCK_AND_MARK = re.compile(r"[|>][-+0-9]*#")
_NO_SPACE = re.compile(r"\s*:[][{},?]")
_PLAIN_WORDS = {
    "true": True, "false": False, "": None, "~": None, "null": None, "Null": None, "NULL": None,
}  # fmt: skip
# Parser messages may quote the file, so they are not repeated; these causes are worth reporting.
_CAUSES = (
    (("nesting depth",), "nested too deeply"),
    (("escape", "hexadecimal", "hexdecimal"), "no such escape: put the text in single quotes"),
    (("end of stream", "end>"), "a quote or bracket is not closed, or the indentation is wrong"),
    (("cannot start",), "no value begins with this character: put the text in quotes"),
    (("not allowed", "expected ':'"), "a colon or dash is out of place: put the text in quotes"),
)


class Problems(Exception):
    """A file cannot be used. `problems` holds every reason, each with its path in the file."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Mapping(dict[str, Any]):
    """A YAML mapping that knows its keys' lines, and which keys are repeated.

    `lines` holds the line (from 1) of each key, `repeated` the key and line of each further one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}
        self.repeated: list[tuple[str, int]] = []

    def put(self, key: str, line: int, value: Any) -> None:
        """Add a key and its value. A repeated key keeps the last value."""
        if key in self:
            self.repeated.append((key, line))
        self.lines[key] = line
        self[key] = value


class _Refused(Exception):
    """YAML that is not plain. `mark` is where it begins."""

    def __init__(self, words: str, event: Any) -> None:
        super().__init__(words)
        self.mark = event.start_mark


def parse(text: Union[str, bytes], name: str) -> Any:
    """Parse one YAML document.

    Args:
        text: the file's content; `name` is what error messages call it.
    Returns:
        Mapping, list, str, int, bool, or None (an empty file).
    Raises:
        Problems: it is not YAML, not UTF-8, too large, nested too deeply, or has tabs, tags,
            anchors or a second document. The message has the location, and never quotes the file.
    """
    if len(text) > MAX_BYTES:
        raise Problems([f"{name}: larger than {MAX_BYTES} bytes"])
    try:
        whole = text.decode() if isinstance(text, bytes) else text
        whole.encode()  # a lone surrogate is not valid text
        whole = whole.removeprefix("\ufeff")
        _check_characters(whole, name)
        return _Reader(whole).document()
    except _Refused as error:
        raise Problems([f"{_place(name, error.mark)}: {error}"]) from None
    except yaml.MarkedYAMLError as error:
        where = _place(name, error.problem_mark)
        raise Problems([f"{where}: {_cause(error.problem or '')}"]) from None
    except UnicodeError:
        raise Problems([f"{name}: not UTF-8 text"]) from None
    except yaml.YAMLError:
        raise Problems([f"{name}: has a control character, which YAML does not allow"]) from None
    except (ValueError, OverflowError):
        # PyYAML's own parser, of an escape such as \UFFFFFFFF.
        raise Problems([f"{name}: has an escape of no character"]) from None


def _check_characters(text: str, name: str) -> None:
    """Refuse what the two parsers read in two ways: directives, tabs, byte order marks."""
    if "\ufeff" in text:
        raise Problems([f"{name}: has a byte order mark (U+FEFF) that is not its first character"])
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("%"):
            raise Problems([f"{name}:{number}: directives (%) are not accepted"])
        if "\t" in line and not line.lstrip(" ").startswith("#"):
            raise Problems([f"{name}:{number}: has a tab: write spaces; in double quotes, \\t"])


def _place(name: str, mark: Any) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name


def _cause(said: str) -> str:
    for parts, words in _CAUSES:
        if any(part in said for part in parts):
            return words
    return "not YAML"


class _Reader:
    """Makes a value of a parser's events. Raises _Refused, and what the parser raises."""

    def __init__(self, text: str) -> None:
        self._text = text
        # Any: what the two parsers make has no type in common.
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=LOADER))

    def document(self) -> Any:
        """The only document; None when there is none."""
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), 0)
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _Refused("a second document begins here", after)
        return value

    def _value(self, event: Any, depth: int, in_flow: bool = False) -> Any:
        self._check(event, in_flow)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        if depth >= MAX_DEPTH:
            raise _Refused("nested too deeply", event)
        if isinstance(event, yaml.SequenceStartEvent):
            items = self._until(yaml.SequenceEndEvent)
            return [self._value(item, depth + 1, bool(event.flow_style)) for item in items]
        return self._mapping(depth + 1, bool(event.flow_style))

    def _mapping(self, depth: int, in_flow: bool) -> Mapping:
        result = Mapping()
        for event in self._until(yaml.MappingEndEvent):
            self._check(event, in_flow)
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent) or not event.value:
                raise _Refused("a key must be a name", event)
            # Keys are always names: `on:` or `1:` is the text that was written.
            value = self._value(next(self._events), depth, in_flow)
            result.put(str(event.value), line, value)
        return result

    def _until(self, end: type[yaml.Event]) -> Iterator[Any]:
        """The events up to the one that ends this list or mapping."""
        for event in self._events:
            if isinstance(event, end):
                return
            yield event

    def _check(self, event: Any, in_flow: bool) -> None:
        """Refuse YAML that is not plain, or that only one of the parsers accepts."""
        start, end = event.start_mark.index, event.end_mark.index
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            # An alias can grow a page to gigabytes.
            raise _Refused("anchors (& and *) are not accepted: put the text in quotes", event)
        if event.tag is not None:
            raise _Refused("tags (!) are not accepted: put the text in quotes", event)
        if not isinstance(event, yaml.ScalarEvent):
            return
        event.value.encode()  # raises UnicodeEncodeError for "\ud800"
        if event.implicit[0] and in_flow:
            if "?" in event.value or event.value.endswith(":"):
                raise _Refused("put a text with ? or : at this place in quotes", event)
            if _NO_SPACE.match(self._text, end):
                raise _Refused("a space must follow the colon", event)
        if _BLOCK_AND_MARK.match(self._text, start):
            raise _Refused("a comment needs a space before its #", event)


def _scalar(event: Any) -> Union[str, int, bool, None]:
    """A quoted scalar is a string; so are `012`, which is not a plain integer, and `on`."""
    text = str(event.value)
    if not event.implicit[0]:
        return text
    if text in _PLAIN_WORDS:
        return _PLAIN_WORDS[text]
    return int(text) if _PLAIN_INT.fullmatch(text) else text
