"""Memory that this process has together with one that it starts, on Linux.

It has no name, so that it is gone when nobody uses it any more, however the processes end.
"""

import os
import sys
from contextlib import suppress
from mmap import mmap
from queue import Empty, SimpleQueue
from weakref import finalize

import numpy as np
import numpy.typing as npt

__all__ = ["PART", "SharedMemory", "shared_memory"]

PART = 32 << 20
"""Bytes of a part; Linux gives out those that are written."""


class SharedMemory:
    """Parts of a file in memory: the other process writes one, and this one has its bytes.

    Raises:
        OSError: there is no such memory here.
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError("no files in memory on this system")
        import fcntl

        self.number = os.memfd_create("images", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        """Of the open file, for the process that is started."""
        self._free: SimpleQueue[tuple[int, mmap]] = SimpleQueue()
        self._size = 0
        # a file that was made shorter would end this process where it reads what is gone
        fcntl.fcntl(self.number, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)

    def take(self) -> tuple[int, npt.NDArray[np.uint8]]:
        """Return where a part begins in the file, and its bytes.

        It is taken again when neither they nor slices of them are used any more.
        """
        try:
            start, mapped = self._free.get_nowait()
        except Empty:
            start = self._size
            self._size += PART
            os.ftruncate(self.number, self._size)
            mapped = mmap(self.number, PART, offset=start)
        values = np.frombuffer(mapped, np.uint8)
        finalize(values, self._free.put, (start, mapped)).atexit = False
        return start, values

    def close(self) -> None:
        """Close the file; bytes that were taken stay."""
        os.close(self.number)


def shared_memory() -> SharedMemory | None:
    """Return new memory; None where the system has none, or forbids it."""
    with suppress(OSError):
        return SharedMemory()
    return None
