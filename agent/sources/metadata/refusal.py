"""The one exception of this package's cores, and text that is safe to log."""

from __future__ import annotations


class Refused(ValueError):
    """A block, a certificate or an answer is not acceptable; the text tells an administrator why.

    Text from outside appears in it shortened and as `repr`. It holds nothing that changes with
    time, so that a repeated problem has the same text and is reported once.
    """


def shown(text: object, most: int = 100) -> str:
    """Text from outside, made safe for one line of the log."""
    return repr(str(text)[:most])
