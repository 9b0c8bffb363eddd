"""Strict YAML: what an administrator wrote is what is meant, or it is refused.

PyYAML's safe_load keeps the last of repeated keys and reads `012` as ten and `on` as true. Here a
repeated or unknown key, a wrong type and a bad value are problems, and all problems of a file are
reported at once, each with its path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional, TypeVar, Union

import yaml

T = TypeVar("T")
# Raises ValueError, with words for people, when a text will not do.
Check = Callable[[str], object]

# A configuration is a page of text; more than this is not one (and YAML aliases could grow it).
MAX_BYTES = 1024 * 1024
_PLAIN_INT = re.compile(r"0|[1-9][0-9]{0,8}")


class Problems(Exception):
    """A file cannot be used. `problems` holds every reason, each with its path in the file."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class _Mapping(dict[str, Any]):
    """A YAML mapping that remembers which of its keys were written twice."""

    repeated: tuple[str, ...] = ()


class _Loader(yaml.SafeLoader):
    """SafeLoader without aliases, merging, and the surprises of YAML 1.1's scalars."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(None, None, "aliases are not supported", event.start_mark)
        return super().compose_node(parent, index)


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> _Mapping:
    result, repeated = _Mapping(), []
    for key_node, value_node in node.value:
        # Keys are always names here: `on:` or `1:` is the text that was written.
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "(not a name)"
        if key in result:
            repeated.append(key)
        result[key] = loader.construct_object(value_node, deep=True)
    result.repeated = tuple(repeated)
    return result


def _construct_int(_: _Loader, node: yaml.ScalarNode) -> Union[int, str]:
    # `012` (octal ten) and `1:30` (sexagesimal) stay text, and so fail as "not a whole number".
    text = str(node.value)
    return int(text) if _PLAIN_INT.fullmatch(text) else text


def _construct_bool(_: _Loader, node: yaml.ScalarNode) -> Union[bool, str]:
    text = str(node.value)
    return {"true": True, "false": False}.get(text, text)


def _construct_text(_: _Loader, node: yaml.ScalarNode) -> str:
    return str(node.value)


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:bool", _construct_bool)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_text)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _construct_text)


def parse(text: Union[str, bytes], name: str) -> Any:
    """Parse one YAML document.

    Args:
        text: the file's content; `name` is what error messages call it.
    Returns:
        Mappings (that know their repeated keys), lists, str, int, bool and None.
    Raises:
        Problems: it is not YAML, not UTF-8, too large, or uses aliases.
    """
    if len(text) > MAX_BYTES:
        raise Problems([f"{name}: larger than {MAX_BYTES} bytes"])
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise Problems([f"{where}: {error.problem or 'not YAML'}"]) from None
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        raise Problems([f"{name}: not YAML: {error}"]) from None
    except RecursionError:
        raise Problems([f"{name}: nested too deeply"]) from None


class Section:
    """One mapping of a document, read key by key; problems gather in a list shared by the file.

    Every reader returns the default when its key is absent or wrong, so that reading goes on and
    finds the other problems as well; whoever made the first Section raises them at the end.
    """

    def __init__(self, value: Any, path: str, problems: list[str]) -> None:
        self.path = path
        self.problems = problems
        self._left: dict[str, Any] = {}
        if isinstance(value, _Mapping):
            self._left = dict(value)
            for key in value.repeated:
                self.problem(key, "given twice")
        elif value is not None:
            problems.append(f"{path or 'the file'}: must be a mapping, not {_kind(value)}")

    def problem(self, key: str, words: str) -> None:
        """Note a problem of one key."""
        self.problems.append(f"{self._at(key)}: {words}")

    def require(self, key: str, value: object) -> None:
        """A required `key` is a problem when absent; when it was wrong, that is noted already."""
        at = f"{self._at(key)}:"
        if not value and not any(words.startswith(at) for words in self.problems):
            self.problem(key, "required")

    def section(self, key: str) -> Section:
        """The mapping under `key`; an empty one when absent."""
        return Section(self._left.pop(key, None), self._at(key), self.problems)

    def optional_section(self, key: str) -> Optional[Section]:
        """The mapping under `key`, or None when the key is absent or empty."""
        value = self._left.pop(key, None)
        return None if value is None else Section(value, self._at(key), self.problems)

    def text(self, key: str, default: T, check: Optional[Check] = None) -> Union[str, T]:
        """A non-empty string; `check` raises ValueError with words when it will not do."""
        value = self._left.pop(key, None)
        if value is None:
            return default
        before = len(self.problems)
        self._check(key, value, check)
        return default if len(self.problems) > before else str(value)

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number within [low, high]."""
        value = self._left.pop(key, None)
        if value is None:
            return default
        if type(value) is not int or not low <= value <= high:
            self.problem(key, f"must be a whole number from {low} to {high}, not {value!r}")
            return default
        return value

    def boolean(self, key: str, default: bool) -> bool:
        """`true` or `false`, written so."""
        value = self._left.pop(key, None)
        if value is None:
            return default
        if type(value) is not bool:
            self.problem(key, f"must be true or false, not {value!r}")
            return default
        return value

    def texts(
        self, key: str, default: tuple[str, ...], check: Optional[Check] = None, some: bool = True
    ) -> tuple[str, ...]:
        """A list of non-empty strings, each of which `check` lets pass.

        An empty list is a problem unless `some` is False: nobody should have to guess whether it
        means nothing or everything.
        """
        value = self._left.pop(key, None)
        if value is None:
            return default
        if not isinstance(value, list):
            self.problem(key, f"must be a list, not {_kind(value)}")
            return default
        if some and not value:
            self.problem(key, "must name at least one")
        before = len(self.problems)
        for index, item in enumerate(value):
            self._check(f"{key}[{index}]", item, check)
        return default if len(self.problems) > before else tuple(value)

    def end(self) -> None:
        """Every key that no reader has taken is unknown."""
        for key in self._left:
            self.problem(key, "unknown key")

    def _check(self, key: str, value: Any, check: Optional[Check]) -> None:
        if not isinstance(value, str) or not value:
            self.problem(key, f"must be a text, not {_kind(value)}")
            return
        try:
            # "\ud800" is a text for YAML, and one that can be neither signed nor opened.
            value.encode()
            if check is not None:
                check(value)
        except ValueError as error:
            self.problem(key, str(error))

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def one_of(*choices: str) -> Callable[[str], None]:
    """A check for Section.text: the value is one of `choices`."""

    def check(value: str) -> None:
        if value not in choices:
            raise ValueError(f"{value!r} is not one of {', '.join(choices)}")

    return check


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    return {list: "a list", bool: "true or false", int: "a number", type(None): "nothing"}.get(
        type(value), repr(value)
    )
