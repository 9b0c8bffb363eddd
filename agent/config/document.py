"""Reads a configuration file key by key, and reports all problems together, each with its path.

An absent key has its default. A key without a value (all its items may be commented out), an
unknown or repeated key, a wrong type and a bad value are problems: none of them means the default,
which may allow more than was intended.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, TypeVar, Union

from agent.config.plain_yaml import MAX_BYTES, Mapping, Problems, parse

__all__ = ["MAX_BYTES", "Check", "Problems", "Section", "one_of", "parse"]

T = TypeVar("T")
# Raises ValueError, with a message for people, if a text is not acceptable.
Check = Callable[[str], object]

# What a reader finds for a key that is absent, or has no value.
_ABSENT: Any = object()
_NO_VALUE = "has no value: give it one, or leave the key out"


def read(path: str) -> bytes:
    """The file's content, up to a byte more than is allowed. Raises Problems."""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Problems([f"{path}: {error.strerror}"]) from None


class Section:
    """One mapping of a document, read key by key; a file's sections share one list of problems.

    Every reader returns the default when its key is absent or wrong, so that reading continues and
    finds the other problems too; the code that made the first Section raises them at the end.

    In a `secret` file a key or value may be a misplaced secret, so no problem quotes it: an unknown
    key is named by its line. The checks must not quote values either.
    """

    def __init__(self, value: Any, path: str, problems: list[str], *, secret: bool = False) -> None:
        self.path = path
        self.problems = problems
        self._secret = secret
        # Whether the file chooses the key names.
        self._free_names = False
        self._left: dict[str, Any] = {}
        self._lines: dict[str, int] = {}
        if isinstance(value, Mapping):
            self._left, self._lines = dict(value), value.lines
            for key, line in value.repeated:
                problems.append(f"{self._foreign(key, line)}: given twice")
        elif value is not None:
            problems.append(f"{path or 'the file'}: must be a mapping, not {_kind(value)}")
        elif path:
            problems.append(f"{path}: {_NO_VALUE}")

    def problem(self, key: str, words: str) -> None:
        """Note a problem of one key."""
        self.problems.append(f"{self._at(key)}: {words}")

    def require(self, key: str, value: object) -> None:
        """Report a required `key` that is absent; a wrong value has been reported already."""
        noted = (f"{self.path}:", f"{self._at(key)}:", f"{self._at(key)}[")
        if not value and not any(words.startswith(noted) for words in self.problems):
            self.problem(key, "required")

    def section(self, key: str) -> Section:
        """The mapping under `key`; an empty one when absent."""
        return self.optional_section(key) or self._below(key, Mapping())

    def optional_section(self, key: str) -> Optional[Section]:
        """The mapping under `key`, or None when the key is absent."""
        value = self._take(key)
        return None if value is _ABSENT else self._below(key, value)

    def text(self, key: str, default: T, check: Optional[Check] = None) -> Union[str, T]:
        """A non-empty string that `check` accepts."""
        value = self._take(key)
        if value is _ABSENT or not self._is_text(self._at(key), value, check):
            return default
        return str(value)

    def integer(self, key: str, default: T, low: int, high: int) -> Union[int, T]:
        """A whole number within [low, high]."""
        value = self._take(key)
        if value is _ABSENT:
            return default
        if type(value) is not int or not low <= value <= high:
            self._refuse(key, f"must be a whole number from {low} to {high}", value)
            return default
        return value

    def boolean(self, key: str, default: bool) -> bool:
        """`true` or `false`, in these words."""
        value = self._take(key)
        if value is _ABSENT:
            return default
        if type(value) is not bool:
            self._refuse(key, "must be true or false", value)
            return default
        return value

    def texts(
        self,
        key: str,
        default: tuple[str, ...],
        check: Optional[Check] = None,
        *,
        some: bool = True,
        different: bool = False,
    ) -> tuple[str, ...]:
        """A list of non-empty strings that `check` accepts.

        An empty list is a problem unless `some` is False: it is unclear whether it means nothing or
        everything. With `different`, a repeated string is a problem too.
        """
        value = self._take(key)
        if value is _ABSENT:
            return default
        if not isinstance(value, list) or (some and not value):
            least = " with at least one item" if some else ""
            self.problem(key, f"must be a list{least}, not {_kind(value)}")
            return default
        items = [(f"{self._at(key)}[{index}]", item) for index, item in enumerate(value)]
        # Check every item, so that every problem is reported.
        good = [self._is_text(at, item, check) for at, item in items]
        if not all(good):
            return default
        twice = [at for index, (at, item) in enumerate(items) if item in value[:index]]
        if different and twice:
            self.problems += [f"{at}: given twice" for at in twice]
            return default
        return tuple(value)

    def named_lists(
        self, check: Check, items: Optional[Check] = None
    ) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Every key with its list of strings, which `items` accepts; `check` accepts the keys."""
        self._free_names = True
        names = list(self._left)
        if not names and not any(words.startswith(f"{self.path}:") for words in self.problems):
            self.problems.append(f"{self.path}: must name at least one")
        for name in names:
            self._is_text(self._at(name), name, check)
        return tuple((name, self.texts(name, (), items)) for name in names)

    def end(self) -> None:
        """Report every key that no reader has read: it is unknown."""
        for key in self._left:
            self.problems.append(f"{self._foreign(key, self._lines[key])}: unknown key")

    def _take(self, key: str) -> Any:
        value = self._left.pop(key, _ABSENT)
        if value is None:
            self.problem(key, _NO_VALUE)
            return _ABSENT
        return value

    def _below(self, key: str, value: Any) -> Section:
        return Section(value, self._at(key), self.problems, secret=self._secret)

    def _refuse(self, key: str, words: str, value: Any) -> None:
        self.problem(key, words if self._secret else f"{words}, not {value!r}")

    def _is_text(self, at: str, value: Any, check: Optional[Check]) -> bool:
        """Whether it is a string that `check` accepts; if not, report it."""
        if not isinstance(value, str) or not value:
            self.problems.append(f"{at}: must be a text, not {_kind(value)}")
            return False
        try:
            if check is not None:
                check(value)
        except ValueError as error:
            self.problems.append(f"{at}: {error}")
            return False
        return True

    def _at(self, key: str) -> str:
        if self._free_names:
            return self._foreign(key, self._lines[key])
        return f"{self.path}.{key}" if self.path else key

    def _foreign(self, key: str, line: int) -> str:
        """The path of an unknown key."""
        name = f"(line {line})" if self._secret else key
        return f"{self.path}.{name}" if self.path else name


def one_of(*choices: str) -> Callable[[str], None]:
    """A check for Section.text: the value is one of `choices`."""

    def check(value: str) -> None:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")

    return check


def _kind(value: Any) -> str:
    """The kind of a value, without quoting the value."""
    if value in ("", []):
        return "an empty text" if value == "" else "an empty list"
    kinds = {list: "a list", bool: "true or false", int: "a number", Mapping: "a mapping"}
    return "nothing" if value is None else kinds.get(type(value), "a text")
