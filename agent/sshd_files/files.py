"""Text of files, byte for byte."""

from __future__ import annotations


def text_of(path: str) -> str:
    """A file's text; empty when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except OSError:
        return ""
