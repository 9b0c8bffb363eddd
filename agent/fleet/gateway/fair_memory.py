"""A memory that principals share fairly: the one that takes most of it loses items first."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator
from typing import Callable, Generic, Optional, TypeVar

T = TypeVar("T")
# Left free after principals have lost items, so that all of them are examined rarely.
_FREE = 16
# What a principal takes beside its name and its items (bytes): a list, and places in a dict.
_OVERHEAD = 512


class _Share(Generic[T]):
    """One principal's items, the oldest first, and the bytes that they take."""

    __slots__ = ("items", "size")

    def __init__(self, size: int) -> None:
        self.items: list[T] = []
        self.size = size


class FairMemory(Generic[T]):
    """The latest items of each principal.

    When `room` is used up, the principal that takes most loses its oldest items. So a principal, or
    a number of them, can make another one lose nothing unless that one takes as much.

    Args:
        each: the most items of one principal.
        share: the most bytes that one principal takes, without its latest item.
        room: the most bytes that all take.
        size: tells how many bytes an item takes; always the same for one item.
    """

    def __init__(self, each: int, share: int, room: int, size: Callable[[T], int]) -> None:
        self._each = each
        self._share = share
        self._room = room
        self._size_of = size
        self._shares: dict[str, _Share[T]] = {}
        self.size = 0
        """The bytes that all principals take now."""

    def __iter__(self) -> Iterator[T]:
        """Every item."""
        for share in self._shares.values():
            yield from share.items

    def add(self, principal: str, item: T) -> None:
        """Remember an item as the principal's latest."""
        share = self._shares.get(principal)
        if share is None:
            share = self._shares[principal] = _Share(_OVERHEAD + sys.getsizeof(principal))
            self.size += share.size
        share.items.append(item)
        self._grow(share, self._size_of(item))
        while len(share.items) > self._each or (share.size > self._share and len(share.items) > 1):
            self._drop_oldest(share)
        if self.size > self._room:
            self._make_room()

    def replace_latest(self, principal: str, item: T) -> None:
        """Put an item in the place of the principal's latest. Raises KeyError: there is none."""
        share = self._shares[principal]
        self._grow(share, -self._size_of(share.items.pop()))
        self.add(principal, item)

    def latest(self, principal: str) -> Optional[T]:
        """The principal's latest item; None when there is none."""
        share = self._shares.get(principal)
        return None if share is None else share.items[-1]

    def of(self, principal: str) -> list[T]:
        """The principal's items, the oldest first."""
        share = self._shares.get(principal)
        return [] if share is None else list(share.items)

    def _make_room(self) -> None:
        """Drop the oldest items of whoever takes most, until some room is free."""
        largest = [(-share.size, name) for name, share in self._shares.items()]
        heapq.heapify(largest)
        while self.size > self._room - self._room // _FREE:
            name = largest[0][1]
            share = self._shares[name]
            self._drop_oldest(share)
            if share.items:
                heapq.heapreplace(largest, (-share.size, name))
            else:
                heapq.heappop(largest)
                self.size -= self._shares.pop(name).size

    def _drop_oldest(self, share: _Share[T]) -> None:
        self._grow(share, -self._size_of(share.items.pop(0)))

    def _grow(self, share: _Share[T], size: int) -> None:
        share.size += size
        self.size += size
