"""Errors of the commands: an exit code, a message, and a hint what to do."""

from __future__ import annotations

import sys

DONE, REFUSED, USAGE, AWAY, FORBIDDEN = 0, 1, 2, 3, 4
# For check: something could not be examined.
BLIND = 2


class Trouble(Exception):
    """A command failed. `code` names the error for programs."""

    def __init__(self, exit_code: int, code: str, words: str, hint: str = "") -> None:
        super().__init__(words)
        self.exit_code = exit_code
        self.code = code
        self.words = words
        self.hint = hint

    def hinting(self, hint: str) -> Trouble:
        """The same, with this hint unless it has one."""
        return Trouble(self.exit_code, self.code, self.words, self.hint or hint)

    def report(self, as_json: bool) -> int:
        """Print it, on stderr for people and on stdout for programs; returns the exit code."""
        if as_json:
            import json

            print(json.dumps({"Error": self.code, "Message": self.words, "Hint": self.hint}))
        else:
            hint = f"\n  {self.hint}" if self.hint else ""
            print(f"sixtykey: {plain(self.words)}{plain(hint)}", file=sys.stderr)
        return self.exit_code


def plain(text: str) -> str:
    """The text without terminal control characters: callers chose parts of it."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)
