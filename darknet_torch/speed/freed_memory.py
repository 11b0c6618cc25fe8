"""Freed memory is used again, and does not go back to Linux after every pass.

A pass allocates and frees maps of many megabytes. glibc gives such memory back to the system as
soon as it is free, and the next pass has to fetch it again, page by page, each filled with zeros:
up to a third of the time of training. `tools/bench.py faults` measures it.
"""

import ctypes
import os
import sys

__all__ = ["LARGEST_IN_TRAINING", "keep_freed_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Settings of glibc's mallopt."""
LARGEST = 32 << 20
"""Blocks up to so many bytes are kept; larger ones, as weights, go back when they are freed."""
LARGEST_IN_TRAINING = 64 << 20
"""The same in training, where a map of a mini-batch is that large."""
OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Of the environment: who has set one of them has decided."""


def keep_freed_memory(largest: int = LARGEST) -> bool:
    """Let this process keep the memory that it frees, for what it allocates next.

    What it took at its peak it keeps until it ends. Without glibc nothing changes.

    Args:
        largest: blocks up to so many bytes are kept.

    Returns:
        Whether it is kept.
    """
    if not sys.platform.startswith("linux") or any(os.environ.get(name) for name in OF_THE_USER):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library, such as musl
        return False
    kept = mallopt(MMAP_THRESHOLD, largest) or mallopt(MMAP_THRESHOLD, LARGEST)  # (older: the most)
    return bool(kept and mallopt(TRIM_THRESHOLD, 2**31 - 1))
