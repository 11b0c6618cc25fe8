"""Decoded images of a data set: read again each time, kept in memory, or kept on the disk."""

import hashlib
import io
import itertools
import math
import mmap
import multiprocessing
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from darknet_torch.data.dataset import Array, Sample
from darknet_torch.errors import DataError, ImageError, UsageError
from darknet_torch.files import atomic
from darknet_torch.images.reading import read
from darknet_torch.training.memory import available_bytes

__all__ = [
    "DiskCache",
    "ImageFiles",
    "Kept",
    "RamCache",
    "ReadImage",
    "cache_bytes",
    "kept_image",
]

HEADER = 256
"""Most bytes of the header of a file of the cache."""


class ReadImage(Protocol):
    """An index of the data set -> its image (C, H, W) uint8."""

    def __call__(self, index: int, /) -> Tensor:
        """Return the image; its memory may not be written to."""


def cache_bytes(samples: Sequence[Sample], channels: int = 3) -> int:
    """Return how many bytes the decoded images take."""
    return sum(sample.width * sample.height for sample in samples) * channels


class ImageFiles:
    """Decode the file of an image each time.

    Args:
        samples: of the data set.
        channels: of an image.

    Raises:
        DataError: when called: the file cannot be read, or has changed since the data set was read.
    """

    def __init__(self, samples: Sequence[Sample], channels: int = 3) -> None:
        self.samples, self.channels = samples, channels

    def __call__(self, index: int, /) -> Tensor:
        """Return an image (C, H, W) uint8; of floats the nearest of 255 levels."""
        sample = self.samples[index]
        try:
            image = read(sample.path, self.channels)
        except ImageError as error:
            raise DataError(str(error)) from error
        if image.shape[1:] != (sample.height, sample.width):
            now, before = f"{image.shape[2]}x{image.shape[1]}", f"{sample.width}x{sample.height}"
            raise DataError(f"{sample.path}: {now} pixels, {before} when the data set was read")
        if image.dtype != torch.uint8:
            image = image.mul(255).round_().clamp_(0, 255).to(torch.uint8)
        return image


class RamCache:
    """Keep decoded images in memory that all loader processes share, each after its first use.

    Args:
        files: the images.

    Raises:
        UsageError: they take more than the free memory.
    """

    def __init__(self, files: ImageFiles) -> None:
        self.files = files
        sizes = [cache_bytes([sample], files.channels) for sample in files.samples]
        self._starts = np.cumsum([0, *sizes])
        total = int(self._starts[-1])
        free = available_bytes()
        if free is not None and total > free:
            what = f"{_gigabytes(total)} of decoded images, {_gigabytes(free)} of memory are free"
            raise UsageError(f"cache=ram: {what}; cache=disk keeps them in files")
        # anonymous: shared with forked processes, whatever the size of /dev/shm
        self._pixels = torch.frombuffer(mmap.mmap(-1, max(total, 1)), dtype=torch.uint8)
        self._known = torch.frombuffer(mmap.mmap(-1, len(sizes) + 1), dtype=torch.uint8)
        self.number = next(_numbers)
        _caches[self.number] = self

    def __call__(self, index: int, /) -> Tensor:
        """Return an image (C, H, W) uint8; errors as `ImageFiles`."""
        sample = self.files.samples[index]
        flat = self._pixels[int(self._starts[index]) : int(self._starts[index + 1])]
        kept = flat.view(sample.height, sample.width, self.files.channels).permute(2, 0, 1)
        if not self._known[index]:  # two processes may do it at once, and write the same
            kept.copy_(self.files(index))
            self._known[index] = 1
        return kept


_numbers = itertools.count()
_caches: WeakValueDictionary[int, RamCache] = WeakValueDictionary()
"""Those of this process, and of the one that it was forked from."""


@dataclass(frozen=True)
class Kept:
    """An image in memory that loader processes share; to another one it goes as two numbers.

    Attributes:
        cache: that has it.
        index: of the image.
    """

    cache: RamCache
    index: int

    def __reduce__(self) -> tuple[Callable[[int, int], "Kept"], tuple[int, int]]:
        """Return how another process finds it."""
        return _found, (self.cache.number, self.index)

    def pixels(self) -> Array:
        """Return the image (H, W, C) uint8; errors as `ImageFiles`."""
        return self.cache(self.index).permute(1, 2, 0).numpy()


def _found(number: int, index: int) -> Kept:
    return Kept(_caches[number], index)


def kept_image(read_image: ReadImage, index: int) -> Kept | None:
    """Return where other processes find an image; None where they do not share its memory."""
    is_shared = "fork" in multiprocessing.get_all_start_methods()
    if is_shared and isinstance(read_image, RamCache):
        return Kept(read_image, index)
    return None


class DiskCache:
    """Keep decoded images as files, each after its first use, also for later trainings.

    A file belongs to the path, the size and the time of change of its image.

    Args:
        files: the images.
        folder: where the files are; it is made if missing.

    Raises:
        UsageError: they take more than what is free on the disk, or the folder cannot be made.
    """

    def __init__(self, files: ImageFiles, folder: Path) -> None:
        self.files, self.folder = files, folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free
            kept = sum(path.stat().st_size for path in folder.glob("*.npy"))
        except OSError as error:
            raise UsageError(f"cache=disk: {folder}: {error.strerror}") from error
        total = cache_bytes(files.samples, files.channels)
        if total > free + kept:
            what = f"{_gigabytes(total)} of decoded images, {_gigabytes(free)} are free there"
            raise UsageError(f"cache=disk: {folder}: {what}")

    def __call__(self, index: int, /) -> Tensor:
        """Return an image (C, H, W) uint8; errors as `ImageFiles`."""
        path = self._path(index)
        pixels = self._kept(path, index)
        if pixels is not None:
            return pixels
        image = self.files(index)
        buffer = io.BytesIO()
        np.save(buffer, image.permute(1, 2, 0).numpy(), allow_pickle=False)
        with atomic(path) as file:
            file.write(buffer.getbuffer())
        return image

    def _path(self, index: int) -> Path:
        path = self.files.samples[index].path
        try:
            state = path.stat()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from error
        key = f"{path.absolute()}\n{state.st_size}\n{state.st_mtime_ns}\n{self.files.channels}"
        return self.folder / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:32]}.npy"

    def _kept(self, path: Path, index: int) -> Tensor | None:
        """The image of a file of the cache; None if there is none, or a damaged one."""
        sample = self.files.samples[index]
        expected = (sample.height, sample.width, self.files.channels)
        try:
            if path.stat().st_size > math.prod(expected) + HEADER:
                return None
            pixels = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if pixels.dtype != np.uint8 or pixels.shape != expected:
            return None
        return torch.from_numpy(pixels).permute(2, 0, 1)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
