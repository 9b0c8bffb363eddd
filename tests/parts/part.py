"""A part that a test starts and stops: what every one of them has in common."""

from __future__ import annotations

from typing import TypeVar

P = TypeVar("P", bound="Part")


class Part:
    """Begins with a `with` block and ends with it, however it ends.

    A part that could not begin whole is finished too, so `finish` takes what was begun.
    """

    def begin(self) -> None:
        """Start it."""

    def finish(self) -> None:
        """Stop it, and leave nothing behind."""

    def __enter__(self: P) -> P:
        try:
            self.begin()
        except BaseException:
            self.finish()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
