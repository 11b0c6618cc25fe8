"""Processes that read images: threads of Python get in one another's way beyond some cores.

    with ReaderProcesses(reading, 16) as processes:
        for source, result in processes.ahead(paths):     # in order
            ...

A process is a fresh interpreter that takes groups of paths on its standard input and answers on its
standard output (`reader_process.py`), so that the program that uses this package is not imported
again, as `multiprocessing` would. On Linux the pixels of a group lie in memory that both processes
have, and are not copied until they go to the device of the network.
"""

import json
import os
import subprocess
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from os import PathLike, fspath
from queue import SimpleQueue
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from darknet_torch.errors import DarknetError, ImageError, warn
from darknet_torch.images.plain_jpeg import Jpeg
from darknet_torch.images.upload import pinned_copy
from darknet_torch.inference.prepared import Prepared, Reading
from darknet_torch.inference.sources import is_address
from darknet_torch.safety.shared_memory import shared_memory
from darknet_torch.safety.subprocesses import start_module
from darknet_torch.safety.threads import Pool

__all__ = ["ReaderProcesses", "core_count", "is_file"]

MODULE = "darknet_torch.inference.reader_process"
MOST = 16
"""Images in a group."""
AHEAD = 2
"""Groups for each process that are read ahead."""
SPARE = 2
"""Threads at least besides one a process: some look at answers while all processes read."""


class ReaderProcesses:
    """Some processes that read images for a network.

    Args:
        reading: what is done with each image.
        count: how many processes.
    """

    def __init__(self, reading: Reading, count: int) -> None:
        self.reading, self.count = reading, count
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        self._size = 1  # of the next group

    def __enter__(self) -> Self:
        """Start the processes."""
        for _ in range(self.count):
            self._idle.put(_Process(self.reading))
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes; nobody may be reading."""
        for process in [self._idle.get() for _ in range(self.count)]:
            process.end()

    def ahead(
        self, sources: Sequence[Any]
    ) -> Generator[tuple[Any, Prepared | DarknetError], None, None]:
        """Read images in groups, some ahead; yield sources and results in order.

        What is no file is read by this process.
        """
        waiting: deque[tuple[Sequence[Any], Future[list[Prepared | DarknetError]]]] = deque()
        groups = self._groups(sources)
        with Pool(self.count + max(SPARE, self.count // 2)) as pool:
            while True:
                while len(waiting) < AHEAD * self.count and (group := next(groups, None)):
                    waiting.append((group, pool.submit(self.read, group)))
                if not waiting:
                    return
                group, future = waiting.popleft()
                done = future.result()
                if rest := group[len(done) :]:
                    waiting.appendleft((rest, pool.submit(self.read, rest)))
                yield from zip(group, done, strict=False)

    def _groups(self, sources: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """Cut a list into groups of files, small ones at both ends; others are alone."""
        start = 0
        while start < len(sources):
            left = len(sources) - start
            group = sources[start : start + min(self._size, 1 + left // (AHEAD * self.count))]
            files = next((n for n, each in enumerate(group) if not is_file(each)), len(group))
            yield group[: files or 1]
            start += files or 1

    def __call__(self, source: Any) -> Prepared:
        """Read one image, as `reading` does.

        Raises:
            ImageError: the image cannot be read, or its process ended.
        """
        result = self.read([source])[0]
        if isinstance(result, DarknetError):
            raise result
        return result

    def read(self, group: Sequence[Any]) -> list[Prepared | DarknetError]:
        """Read the first images of a group, from any thread; as many at once.

        Args:
            group: paths, or a single image that is no file.

        Returns:
            The images, or their errors: of the whole group, unless that is large or takes long.
        """
        if not is_file(group[0]):
            return [self._here(group[0])]
        paths = [fspath(each) for each in group]
        process = self._idle.get()
        answer = None
        try:
            answer = process.read(paths)
        except (OSError, ValueError, EOFError) as error:
            process.end()
            process = _Process(self.reading)
            ended = error
        finally:  # it reads for another thread while this one looks at the answer
            self._idle.put(process)
        if answer is not None:
            count, share = len(answer.header["images"]), answer.header["share"]
            self._size = max(1, min(MOST, int(count / max(share, 1e-6))))
            return answer.images(paths, self.reading)
        if len(paths) > 1:  # one of them ends a process: the others are read all the same
            return [result for path in paths for result in self.read([path])]
        message = ImageError(f"{group[0]}: the process that read it ended")
        message.__cause__ = ended
        return [message]

    def _here(self, source: Any) -> Prepared | DarknetError:
        try:
            return self.reading(source)
        except DarknetError as error:
            return error


class _Answer(NamedTuple):
    """What a process answers, see `reader_process.serve`, and the values of all images."""

    header: dict[str, Any]
    values: npt.NDArray[np.uint8]

    def images(self, paths: Sequence[str], reading: Reading) -> list[Prepared | DarknetError]:
        """Return the images or their errors; pixels for a card where it can copy them."""
        for text in self.header["warnings"]:
            warn(text)
        entries = self.header["images"]
        has_pixels = any("uint8" in entry for entry in entries if isinstance(entry, list))
        device = reading.device if has_pixels else torch.device("cpu")
        values = pinned_copy(self.values[: self.header["size"]], device)
        done, position = list[Prepared | DarknetError](), 0
        for path, entry in zip(paths, entries, strict=False):
            if isinstance(entry, str):
                done.append(ImageError(entry))
            else:
                end = position + entry[0]
                done.append(_prepared(entry, values[position:end], path, reading))
                position = end
        return done


class _Process:
    """One process."""

    def __init__(self, reading: Reading) -> None:
        self.memory, settings = shared_memory(), json.dumps(reading.to_dict())
        files = () if self.memory is None else (self.memory.number,)
        self.process = start_module(MODULE, settings, *map(str, files), pass_fds=files)

    def read(self, paths: Sequence[str]) -> _Answer:
        """Read the first images of a group.

        Raises:
            OSError, ValueError, EOFError: the process ended.
        """
        requests, answers = self.process.stdin, self.process.stdout
        assert requests is not None and answers is not None
        start, values = (None, None) if self.memory is None else self.memory.take()
        requests.write(json.dumps({"paths": paths, "start": start}).encode() + b"\n")
        requests.flush()
        header = json.loads(answers.readline())
        if values is None or not header["shared"]:
            values = _next_bytes(answers, header["size"])
        return _Answer(header, values)

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        for file in (self.process.stdin, self.process.stdout, self.memory):
            with suppress(OSError):  # what it did not take any more
                if file is not None:
                    file.close()
        self.memory = None
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)


def _next_bytes(file: Any, size: int) -> npt.NDArray[np.uint8]:
    """Return the bytes that follow in a pipe; EOFError if it ends before."""
    values = np.empty(size, np.uint8)
    left = values.data
    while left:
        got = file.readinto(left)
        if not got:
            raise EOFError
        left = left[got:]
    return values


def _prepared(entry: list[Any], values: Tensor, path: str, reading: Reading) -> Prepared:
    """Return an image from its entry, see `reader_process.Read`, and its bytes (N,)."""
    _, kind, width, height, more = entry
    if kind == "jpeg":
        return reading.of_jpeg(Jpeg(values.numpy().tobytes(), width, height, more), path)
    fit = reading.fit(width, height)
    if kind == "uint8":
        image = values.view(more).permute(2, 0, 1)
    else:  # copied, as its bytes may lie anywhere
        image = values.clone().view(getattr(torch, kind)).view(more)
    return Prepared(image, fit, path, width, height)


def is_file(source: Any) -> bool:
    """Return whether a source is the path of a file."""
    return isinstance(source, str | PathLike) and not is_address(source)


def core_count() -> int:
    """Return the number of cores that are this process's: its share of them under `torchrun`."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
