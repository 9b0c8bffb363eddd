"""Why nothing is trusted: the one exception of this package's cores."""

from __future__ import annotations


class Refused(ValueError):
    """A block, a certificate or an answer will not do; the words tell an administrator why.

    What came from outside stands in them as `repr` and cut, and nothing that changes with time: the
    same trouble is told once.
    """


def shown(text: object, most: int = 100) -> str:
    """Something from outside, fit for a line of the log."""
    return repr(str(text)[:most])
