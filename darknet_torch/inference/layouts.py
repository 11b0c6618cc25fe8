"""The layouts of boxes in converted files: those of programs that run files of other trainers.

| layout | outputs |
|---|---|
| `boxes+scores` | `boxes` (B, N, 4), xyxy in fractions of the input; `scores` (B, N, C) |
| `ultralytics` | `output0` (B, 4 + C, N): cxcywh in pixels of the input, then the scores |
| `deepstream` | `output` (B, N, 6): xyxy in pixels of the input, best score, class index |

Scores have the objectness in them. `deepstream` has room for one class a box, the best one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.heads.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from darknet_torch.network.origin import Layout

__all__ = ["NAMES", "arranged", "best_class", "in_256_steps", "restored"]

NAMES: dict[Layout, tuple[str, ...]] = {
    "boxes+scores": ("boxes", "scores"),
    "ultralytics": ("output0",),
    "deepstream": ("output",),
}
"""Names of a layout's outputs, as its programs' own exporters call them."""


def arranged(
    boxes: Tensor, scores: Tensor, layout: Layout, size: tuple[int, int]
) -> tuple[Tensor, ...]:
    """Return boxes and scores as a layout has them.

    Args:
        boxes: (B, N, 4), xyxy in fractions of the input.
        scores: (B, N, C).
        layout: the layout.
        size: height and width of the input, in pixels.
    """
    if layout == "boxes+scores":
        return boxes, scores
    height, width = size
    if layout == "ultralytics":
        x, y, w, h = xyxy_to_cxcywh(boxes).unbind(2)
        pixels = torch.stack((x * width, y * height, w * width, h * height), dim=1)
        return (torch.cat((pixels, scores.transpose(1, 2)), dim=1),)
    left, top, right, bottom = boxes.unbind(2)
    score, class_id = scores.max(dim=2)
    columns = (left * width, top * height, right * width, bottom * height)
    return (torch.stack((*columns, score, class_id.float()), dim=2),)


def restored(
    outputs: Sequence[Tensor], layout: Layout, size: tuple[int, int], classes: int
) -> list[Tensor]:
    """Return boxes (B, N, 4), xyxy in fractions of the input, and scores (B, N, C) of a file.

    Args:
        outputs: of the file.
        layout: how they are arranged.
        size: height and width of the input, in pixels.
        classes: number of classes; those that a layout leaves out have the score 0.

    Raises:
        UsageError: the outputs are not those of the layout.
    """
    if layout == "boxes+scores":
        return list(outputs)
    shapes = [tuple(each.shape) for each in outputs]
    side, wide = (1, 4 + classes) if layout == "ultralytics" else (2, 6)
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][side] != wide:
        expected = f"(B, {wide}, N)" if side == 1 else f"(B, N, {wide})"
        raise UsageError(f"yields {shapes}, not one output {expected}, the layout {layout}")
    rows = outputs[0].transpose(1, 2) if layout == "ultralytics" else outputs[0]
    boxes = rows[:, :, :4] / rows.new_tensor((size[1], size[0], size[1], size[0]))
    if layout == "ultralytics":
        return [cxcywh_to_xyxy(boxes), rows[:, :, 4:]]
    return [boxes, _scattered(rows[:, :, 4], rows[:, :, 5], classes)]


def _scattered(score: Tensor, class_id: Tensor, classes: int) -> Tensor:
    """Return scores (B, N, C) of the best class of each box."""
    wrong = ~((class_id >= 0) & (class_id < classes) & (class_id == class_id.floor()))
    if wrong.any():
        raise UsageError(f"yields a box of class {class_id[wrong][0]:g} of {classes}")
    scores = score.new_zeros(*score.shape, classes)
    return scores.scatter_(2, class_id.long()[:, :, None], score[:, :, None])


def best_class(scores: Tensor) -> Tensor:
    """Return scores (B, N, C) without those of all classes but the best one of each box."""
    score, class_id = scores.max(dim=2)
    return _scattered(score, class_id, scores.shape[2])


def in_256_steps(images: Tensor) -> Tensor:
    """Return images in 0..1 as uint8 in 0..255, as files take them whose `images` are uint8."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8)
