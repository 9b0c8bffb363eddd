"""A memory reserve, and returning memory to the kernel after a crowd of connections.

Python and the C library keep freed memory for the next crowd of connections. After a crowd of TLS
handshakes it is as much again as the daemon's own.
"""

from __future__ import annotations

import contextlib
import gc
import mmap


def check_reserve(size: int) -> None:
    """Raise MemoryError unless `size` bytes could be allocated now; none are used (mmap(2))."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        raise MemoryError from None


def give_back() -> None:
    """Collect reference cycles, then return free heap to the kernel (malloc_trim(3)): 15 ms."""
    gc.collect()
    # Other C libraries lack this call, and a hardened system may forbid ctypes.
    with contextlib.suppress(ImportError, AttributeError, OSError, MemoryError):
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
