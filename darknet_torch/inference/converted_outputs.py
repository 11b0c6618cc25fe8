"""What a converted file yields, held against what its metadata promises.

Engines run whatever graph a file has. Outputs of another number, shape, type or meaning than those
of its network would end in wrong boxes, or in errors far from here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.inference.layouts import restored
from darknet_torch.layers.base import Shape
from darknet_torch.network import Contents
from darknet_torch.network.origin import Layout
from darknet_torch.network.plan import Plan

__all__ = ["check_outputs"]

ROW = 7
"""Index of the image, box, score, class index."""


def check_outputs(
    outputs: Sequence[Any],
    plan: Plan,
    contents: Contents,
    batch: int,
    layout: Layout = "boxes+scores",
    in_pixels: bool = False,
) -> list[Tensor]:
    """Return a file's outputs as tensors.

    Args:
        outputs: as an engine yields them; None is an output without values.
        plan: of the network, for the size of the input.
        contents: what they should be, see `network.Contents`.
        batch: number of images.
        layout: how boxes are arranged; they are returned as "boxes+scores".
        in_pixels: whether boxes are in pixels of the input; they are returned in fractions of it.

    Raises:
        UsageError: they are something else.
    """
    tensors = [_tensor(each) for each in outputs]
    if contents == "detections":
        rows = _detections(tensors, plan, batch)
        return [rows / rows.new_tensor((1, *_sides(plan), 1, 1)) if in_pixels else rows]
    if contents == "boxes":
        size = (plan.input.h, plan.input.w)
        boxes, scores = _boxes(restored(tensors, layout, size, plan.classes), plan, batch)
        return [boxes / boxes.new_tensor(_sides(plan)) if in_pixels else boxes, scores]
    shapes = [plan[index].shape if index >= 0 else plan.input for index in plan.outputs]
    if len(tensors) != len(shapes):
        raise UsageError(f"yields {len(tensors)} outputs, and its network has {len(shapes)}")
    for number, (tensor, shape) in enumerate(zip(tensors, shapes, strict=True)):
        if (shape.h, shape.w) == (1, 1) and tensor.shape == (batch, shape.c):
            tensors[number] = tensor[:, :, None, None]  # of NCNN
        elif not _is_of_shape(tensor, shape, batch):
            given = " x ".join(map(str, tensor.shape))
            raise UsageError(f"output {number} is {given}, not {batch} x {shape}")
    return tensors


def _sides(plan: Plan) -> tuple[int, ...]:
    return (plan.input.w, plan.input.h) * 2


def _tensor(output: Any) -> Tensor:
    if output is None:  # of OpenCV, for a tensor without values
        return torch.zeros(0, ROW)
    if isinstance(output, Tensor) and output.is_floating_point():
        return output
    if isinstance(output, np.ndarray) and output.dtype.kind == "f":
        return torch.from_numpy(output)
    what = getattr(output, "dtype", type(output).__name__)
    raise UsageError(f"yields {what}, and floats are expected")


def _is_of_shape(tensor: Tensor, shape: Shape, batch: int) -> bool:
    sides = tuple(tensor.shape)
    if shape.is_vector:
        return sides in ((batch, shape.c), (batch, shape.c, 1, 1))
    return sides == (batch, *shape)


def _boxes(tensors: Sequence[Tensor], plan: Plan, batch: int) -> list[Tensor]:
    shapes = [tuple(each.shape) for each in tensors]
    count = shapes[0][1] if shapes and len(shapes[0]) == 3 else 0
    expected = [(batch, count, 4), (batch, count, plan.classes)]
    if shapes != expected:
        raise UsageError(f"yields {shapes}, not boxes and scores {expected}")
    return list(tensors)


def _detections(tensors: Sequence[Tensor], plan: Plan, batch: int) -> Tensor:
    if len(tensors) != 1 or tensors[0].dim() != 2 or tensors[0].shape[1] != ROW:
        shapes = [tuple(each.shape) for each in tensors]
        raise UsageError(f"yields {shapes}, not detections (K, {ROW})")
    rows = tensors[0]
    for column, most, what in ((0, batch, "image"), (6, plan.classes, "class")):
        values = rows[:, column]
        wrong = ~((values >= 0) & (values < most) & (values == values.floor()))  # NaN too
        if wrong.any():
            raise UsageError(f"yields a detection of {what} {values[wrong][0]:g} of {most}")
    if rows[:, 1:6].isnan().any():
        raise UsageError("yields a detection whose box or score is NaN")
    return rows
