"""What a process of `ReaderProcesses` runs: paths on standard input, images on standard output.

Each line of the input is a path as JSON. The answer is a line of JSON, with the shape and the type
of the values that follow it, or with an error.
"""

import json
import sys
import warnings
from typing import Any, BinaryIO

import torch

from darknet_torch.errors import DarknetError
from darknet_torch.inference.prepared import Reading

__all__ = ["serve"]


def serve(reading: Reading, requests: BinaryIO, answers: BinaryIO) -> None:
    """Read images until there are no more paths.

    Args:
        reading: what is done with each.
        requests: a path as JSON on each line.
        answers: where the images are written.
    """
    for line in requests:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            header, values = _answer(reading, json.loads(line))
        header["warnings"] = [str(each.message) for each in caught]
        answers.write(json.dumps(header).encode() + b"\n")
        answers.write(values)
        answers.flush()


def _answer(reading: Reading, path: str) -> tuple[dict[str, Any], memoryview]:
    """Return the line and the values of an image.

    They are uint8 pixel by pixel, the network's input, or the content of a JPEG file.
    """
    try:
        prepared = reading(path)
    except DarknetError as error:
        return {"error": str(error)}, memoryview(b"")
    header: dict[str, Any] = {"width": prepared.width, "height": prepared.height}
    jpeg = prepared.jpeg
    if jpeg is not None:
        header["jpeg"] = jpeg.width, jpeg.height, jpeg.orientation
        return header | {"shape": [len(jpeg.content)], "dtype": "uint8"}, memoryview(jpeg.content)
    image = prepared.image.permute(1, 2, 0) if prepared.waits else prepared.image
    values = image.contiguous().numpy()
    header |= {"shape": values.shape, "dtype": str(values.dtype)}
    return header, values.data.cast("B")


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(Reading.from_dict(json.loads(sys.argv[1])), sys.stdin.buffer, sys.stdout.buffer)
