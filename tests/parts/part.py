"""A part that a test starts and stops: the base class of all of them."""

from __future__ import annotations

from typing import TypeVar

P = TypeVar("P", bound="Part")


class Part:
    """Begins and ends with a `with` block.

    If `begin` fails, `finish` is called too, and has to release whatever was begun.
    """

    def begin(self) -> None:
        """Start it."""

    def finish(self) -> None:
        """Stop it, and release everything."""

    def __enter__(self: P) -> P:
        try:
            self.begin()
        except BaseException:
            self.finish()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
