"""How this process keeps memory."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of the GNU C library
_LARGEST_ALLOCATION = 32 << 20  # as much as M_MMAP_THRESHOLD allows
_MOST_KEPT = 1 << 30


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed instead of giving it back to the system.

    Who makes and drops tensors of megabytes in a loop otherwise spends a good part of the time in
    page faults, over and over for the same memory. Returns False where malloc is another one.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_ALLOCATION) and mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)
    )
