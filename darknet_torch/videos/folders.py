"""A folder of images that are the frames of a video."""

import re
from collections.abc import Generator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from darknet_torch.errors import ImageError
from darknet_torch.files import IMAGE_SUFFIXES
from darknet_torch.images.reading import read
from darknet_torch.videos.reading import RawFrame, ReadCounts, Span

__all__ = ["FolderReader"]


class FolderReader:
    """The images of a folder as frames: in the order of the numbers in their names.

    Args:
        folder: of the images.
        span: the frames that are wanted.
        max_pixels: most pixels of an image; 0 is no limit.
        rate: frames in a second.

    Raises:
        ImageError: there is no image in it.
    """

    def __init__(self, folder: Path, span: Span, max_pixels: int, rate: float) -> None:
        inside = [each for each in folder.iterdir() if each.suffix.lower() in IMAGE_SUFFIXES]
        if not inside:
            raise ImageError(f"{folder}: no images in this folder ({' '.join(IMAGE_SUFFIXES)})")
        self.paths, self.span, self.max_pixels = sorted(inside, key=_numbered), span, max_pixels
        self.rate, self.counts, self._stopped = rate, ReadCounts(), Event()
        self.is_finite = True
        self.total: int | None = span.share(len(inside), rate)

    def stop(self) -> None:
        """Let the frames end soon."""
        self._stopped.set()

    def frames(self) -> Generator[RawFrame, None, None]:
        """Yield the frames; images that cannot be read are counted and passed over.

        Raises:
            ImageError: none can be read.
        """
        error = None
        for number, path in enumerate(self.paths):
            time = number / self.rate
            if self._stopped.is_set() or self.span.is_over(time):
                return
            if not self.span.has(number, time):
                continue
            try:
                image = read(path, max_pixels=self.max_pixels).permute(1, 2, 0)
            except ImageError as problem:
                self.counts.broken += 1
                error = error or problem
                continue
            self.counts.read += 1
            pixels: Any = np.ascontiguousarray(image.numpy())
            yield RawFrame(pixels, number, time, 1 / self.rate)
        if error is not None and not self.counts.read:
            raise error


def _numbered(path: Path) -> list[tuple[int, str]]:
    """Return a key by which frame2 comes before frame10."""
    parts = re.findall(r"\d{1,18}|\D+|\d", path.name)
    return [(int(part), "") if part[0].isdecimal() else (-1, part) for part in parts]
