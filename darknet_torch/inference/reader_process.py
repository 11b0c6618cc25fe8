"""What a process of `ReaderProcesses` runs: it reads groups of images, mostly without torch.

Each line of the input is a list of paths as JSON. The answer is a line of JSON about the first of
them, all unless they take long or are large. The values of these images, one behind the other, lie
in memory that both processes have, or else behind that line.

Importing torch takes a second, and hundreds of megabytes. It is imported for what is to be resized
here, and for images that are no RGB of 8 bits.
"""

import json
import sys
import warnings
from contextlib import nullcontext
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from darknet_torch.errors import DarknetError, ImageError
from darknet_torch.images.pixels import file_pixels
from darknet_torch.images.plain_jpeg import Jpeg, plain_jpeg
from darknet_torch.images.size import reason
from darknet_torch.safety.shared_memory import PART

if TYPE_CHECKING:
    from darknet_torch.inference.prepared import Reading

__all__ = ["FileReader", "serve"]

SECONDS = 0.1
"""That a group should take."""
BYTES = 8 << 20
"""That a group should have."""
MOST_SHARES = 2
"""Times these at which a group ends before its last image."""


class Read(NamedTuple):
    """What was read of an image: its entry in the answer, and its values.

    entry: the message of its error; or the number of bytes and what they are: "jpeg", width,
        height and orientation, or a type, width and height of the image, and the shape.
    values: bytes of the file, pixels (H, W, 3) uint8, or the network's input.
    """

    entry: Any
    values: memoryview = memoryview(b"")


class FileReader:
    """Reads images as `Reading` does.

    Args:
        settings: `Reading.to_dict`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.simple = settings["channels"] == 3 and settings["decoder"] in ("pillow", "nvjpeg")

    @cached_property
    def reading(self) -> "Reading":
        """The whole of it, with torch."""
        import torch

        from darknet_torch.inference.prepared import Reading

        torch.set_num_threads(1)
        return Reading.from_dict(self.settings)

    def __call__(self, path: str) -> Read:
        """Read one image."""
        try:
            return (self._simple(path) if self.simple else None) or self._any(path)
        except DarknetError as error:
            return Read(str(error))

    def _simple(self, path: str) -> Read | None:
        """Read an image without torch; None where that cannot be."""
        limit = self.settings["max_pixels"]
        if self.settings["decoder"] == "nvjpeg" and (jpeg := plain_jpeg(path, limit)):
            return _of_jpeg(jpeg)
        try:
            pixels = file_pixels(path, 3, limit)
        except Exception as error:  # a damaged file makes a decoder raise nearly anything
            raise ImageError(f"{path}: {reason(error)}") from error
        height, width = pixels.shape[:2]
        usual = pixels.shape[2:] == (3,) and pixels.dtype == np.uint8 and pixels.flags.c_contiguous
        if usual and 0 < pixels.size <= self.settings["most_waiting"]:
            return Read((pixels.nbytes, "uint8", width, height, pixels.shape), pixels.data)
        if usual and pixels.flags.writeable and pixels.size:
            return self._resized(path, pixels)
        self.simple = False  # those that follow are likely to be of this kind
        return None

    def _resized(self, path: str, pixels: npt.NDArray[Any]) -> Read:
        import torch

        image = torch.from_numpy(pixels).permute(2, 0, 1)
        return _of_tensor(self.reading.of_image(image, path))

    def _any(self, path: str) -> Read:
        prepared = self.reading(path)
        return _of_tensor(prepared) if prepared.jpeg is None else _of_jpeg(prepared.jpeg)


def _of_jpeg(jpeg: Jpeg) -> Read:
    size = jpeg.width, jpeg.height
    return Read((len(jpeg.content), "jpeg", *size, jpeg.orientation), memoryview(jpeg.content))


def _of_tensor(prepared: Any) -> Read:
    image = prepared.image.permute(1, 2, 0) if prepared.waits else prepared.image
    values = image.contiguous().numpy()
    size = prepared.width, prepared.height
    return Read((values.nbytes, str(values.dtype), *size, values.shape), values.data)


def serve(
    reader: FileReader, requests: BinaryIO, answers: BinaryIO, memory: BinaryIO | None = None
) -> None:
    """Read groups of images until there are no more.

    Args:
        reader: reads an image.
        requests: groups as JSON, one on each line: "paths", and the "start" of a part of `memory`.
        answers: where they are answered.
        memory: where the values of a group are written if they fit into a part; others, and all if
            it is None, stand behind the answer.
    """
    for line in requests:
        request = json.loads(line)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            done, size, share = _read(reader, request["paths"])
        shared = memory is not None and size <= PART
        header = {
            "images": [each.entry for each in done],
            "warnings": [str(each.message) for each in caught],
            "size": size,
            "share": share,
            "shared": shared,
        }
        if memory is not None and shared:
            memory.seek(request["start"])
            _write(done, memory)
        answers.write(json.dumps(header).encode() + b"\n")
        _write([] if shared else done, answers)


def _read(reader: FileReader, paths: list[str]) -> tuple[list[Read], int, float]:
    """Read the first images of a group.

    Returns:
        The images, the bytes of their values, and how much of what a group should be they are.
    """
    done, begun, size, share = list[Read](), monotonic(), 0, 0.0
    for path in paths:
        done.append(reader(path))
        size += done[-1].values.nbytes
        share = max((monotonic() - begun) / SECONDS, size / BYTES)
        if share >= MOST_SHARES:
            break
    return done, size, share


def _write(images: list[Read], file: BinaryIO) -> None:
    for each in images:
        file.write(each.values.cast("B"))
    file.flush()


if __name__ == "__main__":
    shared = open(int(sys.argv[2]), "wb") if sys.argv[2:] else nullcontext()  # noqa: PTH123, SIM115
    with shared as memory:
        serve(FileReader(json.loads(sys.argv[1])), sys.stdin.buffer, sys.stdout.buffer, memory)
