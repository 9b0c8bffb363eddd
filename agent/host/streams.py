"""Opens standard streams that were closed at the start."""

from __future__ import annotations

import os


def open_standard_streams() -> None:
    """Open closed ones: else a client's socket could become descriptor 1 and receive the audit."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # uses the lowest free descriptor: this one
