"""Recent items by OS user: a bounded number for one user, bounded bytes for all users together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Callable, Generic, Optional, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """The latest items of each user: at most `each` of them, and `room` bytes for all users.

    When `room` is used up, the user seen longest ago loses items. A limit on their number is not
    enough: one item may be a hundred times as long as another. `size` tells how many bytes an item
    takes: always the same for one item, since it is asked again when the item is dropped.
    """

    def __init__(self, each: int, room: int, size: Callable[[T], int]) -> None:
        self._each = each
        self._room = room
        self._size_of = size
        self._size = 0
        # Lists: even an empty deque takes 600 bytes.
        self._users: OrderedDict[str, list[T]] = OrderedDict()

    def __iter__(self) -> Iterator[T]:
        """Every item, those of the user seen longest ago first."""
        for items in self._users.values():
            yield from items

    @property
    def size(self) -> int:
        """The bytes that all items take; at most `room`."""
        return self._size

    def add(self, user: str, item: T) -> None:
        """Remember an item as the user's latest."""
        items = self._users.setdefault(user, [])
        self._users.move_to_end(user)
        if len(items) == self._each:
            self._size -= self._size_of(items.pop(0))
        items.append(item)
        self._size += self._size_of(item)
        while self._size > self._room:
            self._drop_oldest()

    def replace_latest(self, user: str, item: T) -> None:
        """Put an item in the place of the user's latest. Raises KeyError: there is none."""
        self._size -= self._size_of(self._users[user].pop())
        self.add(user, item)

    def latest(self, user: str) -> Optional[T]:
        """The user's latest item; None when there is none."""
        items = self._users.get(user)
        return items[-1] if items else None

    def of(self, user: str) -> list[T]:
        """The user's items, the oldest first."""
        return list(self._users.get(user, ()))

    def _drop_oldest(self) -> None:
        user, items = next(iter(self._users.items()))
        self._size -= self._size_of(items.pop(0))
        if not items:
            del self._users[user]
