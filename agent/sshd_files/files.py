"""Text of files, byte for byte."""

from __future__ import annotations


def text_of(path: str, limit: int = -1) -> str:
    """A file's text, at most `limit` characters of it; empty when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read(limit)
    except OSError:
        return ""
