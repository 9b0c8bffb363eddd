"""Text of files, byte for byte."""

from __future__ import annotations


def text_of(path: str) -> str:
    """What stands in a file; nothing where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except OSError:
        return ""
