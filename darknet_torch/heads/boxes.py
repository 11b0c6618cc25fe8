"""Boxes: the predictions of heads, box formats, overlaps.

A box is (x, y, w, h): centre and size, in fractions of the image or in pixels (`cxcywh`), or
its corners (left, top, right, bottom) (`xyxy`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "Candidates",
    "Predictions",
    "cxcywh_to_xyxy",
    "iou",
    "join",
    "xyxy_to_cxcywh",
]


class Predictions(NamedTuple):
    """All boxes of a head, no threshold applied.

    Args:
        boxes: (B, N, 4) cxcywh in fractions of the network's input.
        objectness: (B, N) in 0..1.
        scores: (B, N, C), probability of each class, objectness included.
    """

    boxes: Tensor
    objectness: Tensor
    scores: Tensor


class Candidates(NamedTuple):
    """The boxes of a batch that may become detections.

    Args:
        image: (M,) int64, index of the image in the batch.
        boxes: (M, 4) cxcywh in fractions of the network's input.
        objectness: (M,) in 0..1.
        scores: (M, C), zero where not above the threshold.
    """

    image: Tensor
    boxes: Tensor
    objectness: Tensor
    scores: Tensor

    def cpu(self, of_images: Tensor) -> tuple["Candidates", Tensor]:
        """Return them, and a number of each image, on the CPU: brought there in one transfer.

        Args:
            of_images: (B,) float32, on the same device.
        """
        if self.boxes.device.type == "cpu":
            return self, of_images
        rows = self.rows()
        flat = torch.cat((rows.flatten(), of_images)).cpu()
        rows, of_images = flat[: rows.numel()].view(rows.shape), flat[rows.numel() :]
        return Candidates.of_rows(rows), of_images

    def rows(self) -> Tensor:
        """Return all of it in one tensor, (M, 6 + C) float32."""
        columns = (self.image[:, None], self.boxes, self.objectness[:, None], self.scores)
        return torch.cat([column.float() for column in columns], dim=1)

    @classmethod
    def of_rows(cls, rows: Tensor) -> "Candidates":
        """Return what `rows` made one tensor of."""
        return cls(rows[:, 0].long(), rows[:, 1:5], rows[:, 5], rows[:, 6:])


def join(parts: Sequence[Candidates]) -> Candidates:
    """Concatenate the candidates of several heads, which may differ in their number of classes."""
    most = max(part.scores.shape[1] for part in parts)
    padded = [
        part._replace(scores=F.pad(part.scores, (0, most - part.scores.shape[1]))) for part in parts
    ]
    return Candidates(*(torch.cat(each) for each in zip(*padded, strict=True)))


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from centre and size to corners."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from corners to centre and size."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), dim=-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU (...) of xyxy boxes (..., 4), pair by pair; 0 where there is no area."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    intersection = (high - low).clamp_min(0).prod(dim=-1)
    area_a, area_b = ((box[..., 2:] - box[..., :2]).prod(dim=-1) for box in (a, b))
    union = area_a + area_b - intersection
    return torch.where(union == 0, torch.zeros_like(union), intersection / union)
