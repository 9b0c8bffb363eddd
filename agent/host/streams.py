"""Standard streams that a daemon was started without."""

from __future__ import annotations

import os


def open_standard_streams() -> None:
    """Started with stdout closed, a client's socket would become descriptor 1 and get the audit."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free: this one
