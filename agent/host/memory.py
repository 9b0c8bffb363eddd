"""Memory: some is kept in reserve, and it goes back to the kernel when a crowd has gone.

Python and the C library keep the memory of one crowd of connections for the next. After a crowd of
TLS handshakes that is as much again as the daemon takes.
"""

from __future__ import annotations

import contextlib
import gc
import mmap


def check_reserve(size: int) -> None:
    """Raise MemoryError unless `size` bytes could be had now; they are not touched (mmap(2))."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        raise MemoryError from None


def give_back() -> None:
    """Collect reference cycles, then return free heap to the kernel (malloc_trim(3)): 15 ms."""
    gc.collect()
    # Another C library has no such call; a hardened system may not let ctypes make one.
    with contextlib.suppress(ImportError, AttributeError, OSError, MemoryError):
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
