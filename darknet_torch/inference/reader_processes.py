"""Processes that read images: threads of Python get in one another's way beyond some cores.

    with ReaderProcesses(reading, 16) as read:
        prepared = read("photo.jpg")                   # from any thread; as many at once

A process is a fresh interpreter that takes paths on its standard input and writes images to its
standard output (`reader_process.py`), so that the program that uses this package is not imported
again, as `multiprocessing` would.
"""

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from os import PathLike, fspath
from queue import SimpleQueue
from typing import Any, Self

import numpy as np
import torch

from darknet_torch.errors import ImageError, warn
from darknet_torch.images.plain_jpeg import Jpeg
from darknet_torch.inference.prepared import Prepared, Reading
from darknet_torch.inference.sources import is_address
from darknet_torch.safety.subprocesses import start_module

__all__ = ["ReaderProcesses", "core_count"]

MODULE = "darknet_torch.inference.reader_process"


class ReaderProcesses:
    """Some processes that read images for a network.

    Args:
        reading: what is done with each image.
        count: how many processes.
    """

    def __init__(self, reading: Reading, count: int) -> None:
        self.reading, self.count = reading, count
        self._idle: SimpleQueue[_Process] = SimpleQueue()

    def __enter__(self) -> Self:
        """Start the processes."""
        for _ in range(self.count):
            self._idle.put(_Process(self.reading))
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes; nobody may be reading."""
        for process in [self._idle.get() for _ in range(self.count)]:
            process.end()

    def __call__(self, source: Any) -> Prepared:
        """Read one image, as `reading` does; what is no file is read by this process.

        Raises:
            ImageError: the image cannot be read, or its process ended.
        """
        if not isinstance(source, str | PathLike) or is_address(source):
            return self.reading(source)
        process = self._idle.get()
        try:
            return process.read(fspath(source), self.reading)
        except (OSError, ValueError, EOFError) as error:
            process.end()
            process = _Process(self.reading)
            raise ImageError(f"{source}: the process that read it ended") from error
        finally:
            self._idle.put(process)


class _Process:
    """One process."""

    def __init__(self, reading: Reading) -> None:
        self.process = start_module(MODULE, json.dumps(reading.to_dict()))

    def read(self, path: str, reading: Reading) -> Prepared:
        """Read one image; OSError, ValueError or EOFError if the process ended."""
        pipe_in, pipe_out = self.process.stdin, self.process.stdout
        assert pipe_in is not None and pipe_out is not None
        pipe_in.write(json.dumps(path).encode() + b"\n")
        pipe_in.flush()
        header = json.loads(pipe_out.readline())
        for text in header["warnings"]:
            warn(text)
        if "error" in header:
            raise ImageError(header["error"])
        pixels = np.empty(header["shape"], header["dtype"])
        left = pixels.data.cast("B")
        while left:
            got = pipe_out.readinto(left)  # type: ignore[attr-defined]
            if not got:
                raise EOFError
            left = left[got:]
        if "jpeg" in header:
            return reading.of_jpeg(Jpeg(pixels.tobytes(), *header["jpeg"]), path)
        fit = reading.fit(header["width"], header["height"])
        image = torch.from_numpy(pixels)
        image = image.permute(2, 0, 1) if image.dtype == torch.uint8 else image
        return Prepared(image, fit, path, header["width"], header["height"])

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # what it did not take any more
                if pipe is not None:
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)


def core_count() -> int:
    """Return the number of cores that are this process's: its share of them under `torchrun`."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
