"""ONNX files that take images of any size: Darknet's resizing before the network, boxes in pixels.

The operators are those of `images/resizing.py` and `images/bilinear.py`, with the same last row.
ONNX's own Resize would do for all rows but that one, and has no letterbox.
"""

from typing import Any, NamedTuple

import numpy as np

from darknet_torch.extras import require
from darknet_torch.images.resizing import MARGIN

__all__ = ["WHOLE_NUMBERS", "with_any_size"]

WHOLE_NUMBERS = 13
"""The oldest operator set that has all operators for whole numbers."""


class Operators:
    """Nodes of a graph in order; a call adds one, and returns the name of its output."""

    def __init__(self) -> None:
        self.onnx = require("onnx", "onnx")
        self.nodes: list[Any] = []

    def __call__(self, kind: str, *inputs: str, output: str | None = None, **options: Any) -> str:
        """Add a node and return the name of its output."""
        output = output or f"any_size_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], **options))
        return output

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """Add a constant, a number or a list, and return its name."""
        tensor = self.onnx.numpy_helper.from_array(np.array(value, dtype))
        return self("Constant", value=tensor)

    def number(self, value: str) -> str:
        """Return whole numbers as float32."""
        return self("Cast", value, to=self.onnx.TensorProto.FLOAT)

    def joined(self, *values: str) -> str:
        """Return numbers as a list."""
        one = self.constant([1])
        return self("Concat", *(self("Reshape", each, one) for each in values), axis=0)


class Size(NamedTuple):
    """Names of a height and a width, each a whole number."""

    height: str
    width: str


def with_any_size(model: Any, *, letterbox: bool) -> Any:
    """Change a model so that it takes images of any size, and gives boxes in pixels of these.

    Args:
        model: an onnx.ModelProto with the one input `images`, float32 (B, C, H, W) of a fixed size,
            whose first output is `boxes`, (B, N, 4), or `detections`, (K, 7), in fractions of it.
        letterbox: whether images keep their aspect ratio, with grey beside; else they are
            stretched.

    Returns:
        The same model, changed: its input is uint8 (B, height, width, C).
    """
    op, graph = Operators(), model.graph
    onnx, (images,) = op.onnx, graph.input
    batch, channels, *sides = (_size(dim) for dim in images.type.tensor_type.shape.dim)
    shape = op("Shape", "images")
    image = Size(*(op("Gather", shape, op.constant(axis)) for axis in (1, 2)))
    net = Size(*map(op.constant, sides))
    fitted = _fitted(op, image, net) if letterbox else net
    _resized(op, image, fitted, net, channels)
    before = op.nodes
    for node in graph.node:
        node.input[:] = ["images_float" if name == "images" else name for name in node.input]
        node.output[:] = [
            "in_fractions" if each == graph.output[0].name else each for each in node.output
        ]
    op.nodes = [*before, *graph.node]
    _in_pixels(op, image, fitted, net, graph.output[0].name)
    del graph.node[:]
    graph.node.extend(op.nodes)
    given = [batch, "height", "width", channels]
    images.CopyFrom(onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, given))
    return model


def _size(dim: Any) -> int | str:
    return str(dim.dim_param) if dim.dim_param else int(dim.dim_value)


def _fitted(op: Operators, image: Size, net: Size) -> Size:
    """Return the size at which an image fits into the input, see `images.resizing.fit`."""
    one = op.constant(1)
    ratio = [op("Div", op.number(a), op.number(b)) for a, b in zip(net, image, strict=True)]
    wide = op("Less", ratio[1], ratio[0])
    height = op("Max", one, op("Div", op("Mul", image.height, net.width), image.width))
    width = op("Max", one, op("Div", op("Mul", image.width, net.height), image.height))
    return Size(op("Where", wide, height, net.height), op("Where", wide, net.width, width))


def _resized(op: Operators, image: Size, fitted: Size, net: Size, channels: int | str) -> None:
    """Add `images_float`, (B, C, H, W) in 0..1, of `images`."""
    rows = _mixed(op, "images", 1, image.height, fitted.height, [-1, 1, 1])
    scaled = op(
        "Div", _mixed(op, rows, 2, image.width, fitted.width, [-1, 1]), op.constant(255, np.float32)
    )
    two, zero = op.constant(2), op.constant(0)
    free = [op("Sub", a, b) for a, b in zip(net, fitted, strict=True)]
    start = [op("Div", each, two) for each in free]
    end = [op("Sub", a, b) for a, b in zip(free, start, strict=True)]
    pads = op.joined(zero, *start, zero, zero, *end, zero)
    padded = op("Pad", scaled, pads, op.constant(MARGIN, np.float32))
    planar = op("Transpose", padded, perm=[0, 3, 1, 2])
    batch = op("Slice", op("Shape", planar), op.constant([0]), op.constant([1]))
    known = op("Concat", batch, op.joined(op.constant(channels), *net), axis=0)
    op("Reshape", planar, known, output="images_float")  # tells its size to who reads the file


def _mixed(op: Operators, x: str, axis: int, old: str, new: str, shape: list[int]) -> str:
    """Return (float32) rows or columns of an image, each mixed of two: see `bilinear`."""
    zero, one = op.constant(0), op.constant(1)
    last, end = op("Sub", old, one), op("Sub", new, one)
    scale = op("Div", op.number(last), op.number(op("Max", end, one)))
    index = op("Range", zero, new, one)
    position = op("Mul", op.number(index), scale)
    at_end = op("Equal", index, end)
    single = op("Equal", end, zero)
    # the last one takes nothing from a second; a row is darker for it, a column is the last whole
    if axis == 1:
        position = op("Where", single, op.number(last), position)
    else:
        position = op("Where", at_end, op.number(last), position)
    lower = op("Min", op("Cast", position, to=op.onnx.TensorProto.INT64), last)
    upper = op("Min", op("Add", lower, one), last)
    share = op("Sub", position, op.number(lower))
    second = op("Where", at_end, op.constant(0, np.float32), share)
    first = op("Sub", op.constant(1, np.float32), share)
    parts = [
        op(
            "Mul",
            op.number(op("Gather", x, place, axis=axis)),
            op("Reshape", part, op.constant(shape)),
        )
        for place, part in ((lower, first), (upper, second))
    ]
    return op("Add", *parts)


def _in_pixels(op: Operators, image: Size, fitted: Size, net: Size, output: str) -> None:
    """Add the output with its boxes in pixels of the image, see `images.resizing.Placement`."""
    one, zero = op.constant(1, np.float32), op.constant(0, np.float32)
    half = op.constant(0.5, np.float32)

    def for_row(size: Size, rest: str) -> str:
        """Return a number for each value of a row: a box has those of width and height."""
        box = (op.number(size.width), op.number(size.height)) * 2
        before, after = ((rest,), (rest, rest)) if output == "detections" else ((), ())
        return op.joined(*before, *box, *after)

    free = op("Sub", for_row(net, zero), for_row(fitted, zero))
    placed = op("Sub", op("Mul", "in_fractions", for_row(net, one)), op("Mul", free, half))
    scale = op("Div", for_row(image, one), for_row(fitted, one))
    op("Mul", placed, scale, output=output)
