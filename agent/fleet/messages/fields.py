"""Reads the members of a document one by one. Each has the exact type and form, or is Rejected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Callable, Optional, TypeVar

from agent.config.fleet_limits import FLEET
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.signing import PublicKey

T = TypeVar("T")
_HEX = re.compile(r"[0-9a-f]*", re.ASCII)


class Fields:
    """One object's members; `end` refuses those that were not read. `what` is for messages."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, dict):
            raise Rejected(f"{what} is not an object")
        self._left: dict[str, Any] = dict(value)
        self._what = what

    def text(
        self, name: str, check: Optional[Callable[[str], None]] = None, most: Optional[int] = None
    ) -> str:
        """A text of printable characters, neither empty nor longer than `most` characters.

        `check` raises ValueError when the text is not acceptable.
        """
        return self._check_text(name, self._take(name), check, most)

    def texts(
        self, name: str, check: Optional[Callable[[str], None]] = None, most: Optional[int] = None
    ) -> tuple[str, ...]:
        """A list of such texts, at most `FLEET.list_items` of them; it may be empty."""
        value = self._take(name)
        if not isinstance(value, list) or len(value) > FLEET.list_items:
            raise self._wrong(name, f"is not a list of at most {FLEET.list_items} texts")
        return tuple(self._check_text(name, item, check, most) for item in value)

    def tags(self, name: str) -> Mapping[str, str]:
        """An object whose members are texts."""
        value = self._take(name)
        if not isinstance(value, dict) or len(value) > FLEET.tags:
            raise self._wrong(name, f"is not an object of at most {FLEET.tags} texts")
        for key, item in value.items():
            self._check_text(name, key, None, FLEET.tag_characters)
            self._check_text(name, item, None, FLEET.tag_characters)
        return value

    def whole(self, name: str, low: int, high: int) -> int:
        """An integer within [low, high]; `true` is not one."""
        value = self._take(name)
        if type(value) is not int or not low <= value <= high:
            raise self._wrong(name, f"is not a whole number from {low} to {high}")
        return value

    def boolean(self, name: str) -> bool:
        """True or false."""
        value = self._take(name)
        if type(value) is not bool:
            raise self._wrong(name, "is neither true nor false")
        return value

    def bytes(self, name: str, length: int) -> bytes:
        """Exactly `length` bytes, in lower-case hexadecimal digits."""
        value = self._take(name)
        if not isinstance(value, str) or len(value) != 2 * length or not _HEX.fullmatch(value):
            raise self._wrong(name, f"is not {length} bytes in lower-case hexadecimal")
        return bytes.fromhex(value)

    def time(self, name: str) -> int:
        """A time of the wall clock, in milliseconds since the Unix epoch."""
        return self.whole(name, 0, FLEET.last_time_ms)

    def key(self, name: str) -> PublicKey:
        """A public key."""
        try:
            return PublicKey.parse(self.text(name))
        except ValueError as error:
            raise self._wrong(name, str(error)) from None

    def choice(self, name: str, *choices: str) -> str:
        """One of these texts."""
        value = self.text(name)
        if value not in choices:
            raise self._wrong(name, f"is none of {', '.join(choices)}")
        return value

    def optional(self, name: str, read: Callable[[str], T]) -> Optional[T]:
        """None when the member is null, else what `read` returns. The member is required."""
        if name in self._left and self._left[name] is None:
            del self._left[name]
            return None
        return read(name)

    def object(self, name: str) -> Fields:
        """The members of a nested object."""
        return Fields(self._take(name), f"{self._what}.{name}")

    def objects(self, name: str, most: int) -> tuple[Fields, ...]:
        """A list of at most `most` objects, each with its members."""
        value = self._take(name)
        if not isinstance(value, list) or len(value) > most:
            raise self._wrong(name, f"is not a list of at most {most} objects")
        return tuple(Fields(each, f"{self._what}.{name}") for each in value)

    def end(self) -> None:
        """Refuse members that were not read."""
        for name in self._left:
            raise Rejected(f"{self._what} has an unknown member {name[:32]!r}")

    def _take(self, name: str) -> Any:
        if name not in self._left:
            raise Rejected(f"{self._what} has no {name}")
        return self._left.pop(name)

    def _check_text(
        self, name: str, value: Any, check: Optional[Callable[[str], None]], most: Optional[int]
    ) -> str:
        longest = FLEET.text_characters if most is None else most
        if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
            raise self._wrong(name, f"is not a text of 1 to {longest} printable characters")
        try:
            if check is not None:
                check(value)
        except ValueError as error:
            raise self._wrong(name, str(error)) from None
        return value

    def _wrong(self, name: str, words: str) -> Rejected:
        return Rejected(f"{self._what}.{name} {words}")


def printable(words: str) -> str:
    """The text, reduced to the characters and length that `Fields.text` takes."""
    kept = words[: FLEET.text_characters]
    return "".join(letter if letter.isprintable() else "?" for letter in kept) or "?"
