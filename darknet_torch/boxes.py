"""Boxes: formats, overlaps, and Darknet's four kinds of non-maximum suppression, on any device.

A box is (x, y, w, h): centre and size, in fractions of the picture or in pixels (`cxcywh`), or
its corners (left, top, right, bottom) (`xyxy`).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "Candidates",
    "NmsKind",
    "Predictions",
    "cxcywh_to_xyxy",
    "enclosing_diagonal",
    "iou",
    "join",
    "suppress",
    "xyxy_to_cxcywh",
]

NmsKind = Literal["default", "greedynms", "diounms"]
PAIRS_AT_ONCE = 1 << 21


class Predictions(NamedTuple):
    """All boxes of a head, thresholds not applied.

    boxes: (B, N, 4) cxcywh in fractions of the network's input; objectness: (B, N);
    scores: (B, N, C) probability of each class, objectness included.
    """

    boxes: Tensor
    objectness: Tensor
    scores: Tensor


class Candidates(NamedTuple):
    """The boxes of a batch that may become detections.

    picture: (M,) number in the batch; boxes: (M, 4) cxcywh in fractions of the network's input;
    objectness: (M,); scores: (M, C), zero where not above the threshold.
    """

    picture: Tensor
    boxes: Tensor
    objectness: Tensor
    scores: Tensor


def join(parts: Sequence[Candidates]) -> Candidates:
    """Put the candidates of several heads behind one another; heads may differ in classes."""
    most = max(part.scores.shape[1] for part in parts)
    padded = [
        part._replace(scores=F.pad(part.scores, (0, most - part.scores.shape[1]))) for part in parts
    ]
    return Candidates(*(torch.cat(each) for each in zip(*padded, strict=True)))


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Centre and size to corners, (..., 4)."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Corners to centre and size, (..., 4)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), dim=-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of corner boxes (..., 4), pair by pair; 0 where there is no area."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    intersection = (high - low).clamp_min(0).prod(dim=-1)
    area_a, area_b = ((box[..., 2:] - box[..., :2]).prod(dim=-1) for box in (a, b))
    union = area_a + area_b - intersection
    return torch.where(union == 0, torch.zeros_like(union), intersection / union)


def enclosing_diagonal(a: Tensor, b: Tensor) -> Tensor:
    """Squared diagonal of the smallest box around both corner boxes, (..., 4) -> (...)."""
    low, high = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    return (high - low).square().sum(dim=-1)


def suppress(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    threshold: float,
    kind: NmsKind = "default",
    beta: float = 0.6,
) -> Tensor:
    """Say which boxes survive: in each group, by falling score, none overlaps a better survivor.

    boxes: (N, 4) corners; scores: (N,); groups: (N,) integers, only equal ones compete.
    kind: "default" compares the IoU with the threshold; "greedynms" (always with beta .6) and
    "diounms" subtract (squared centre distance / squared enclosing diagonal) ** beta first.
    Returns (N,) bool. Equal scores compete in the order given.

    No loop over boxes: pairs that overlap are found at once (in blocks of bounded memory); then
    every box that a living better box suppresses is struck out, until nothing changes.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[torch.argsort(groups[order], stable=True)]
    better, worse = _overlapping(
        boxes[order],
        groups[order],
        threshold,
        None if kind == "default" else 0.6 if kind == "greedynms" else beta,
    )
    alive = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    while True:
        after = torch.ones_like(alive)
        after[worse[alive[better]]] = False
        if torch.equal(after, alive):
            break
        alive = after
    keep = torch.empty_like(alive)
    keep[order] = alive
    return keep


def _overlapping(
    boxes: Tensor, groups: Tensor, threshold: float, beta: float | None
) -> tuple[Tensor, Tensor]:
    """Positions (better, worse) of the pairs of one group that overlap; groups stand together."""
    _, sizes = torch.unique_consecutive(groups, return_counts=True)
    ends = sizes.cumsum(0).repeat_interleave(sizes)
    here = torch.arange(len(boxes), device=boxes.device)
    later = ends - here - 1  # how many worse boxes of its group stand behind each box
    total = later.cumsum(0)
    blocks = torch.div(total, PAIRS_AT_ONCE, rounding_mode="floor")
    _, counts = torch.unique_consecutive(blocks, return_counts=True)
    found = [
        _overlapping_block(boxes, part, later[part], threshold, beta)
        for part in torch.split(here, counts.tolist())
    ]
    if not found:
        return here, here
    better, worse = zip(*found, strict=True)
    return torch.cat(better), torch.cat(worse)


def _overlapping_block(
    boxes: Tensor, part: Tensor, later: Tensor, threshold: float, beta: float | None
) -> tuple[Tensor, Tensor]:
    better = part.repeat_interleave(later)
    first = later.cumsum(0) - later
    offset = torch.arange(len(better), device=boxes.device) - first.repeat_interleave(later)
    worse = better + 1 + offset
    a, b = boxes[better], boxes[worse]
    overlap = iou(a, b)
    if beta is not None:
        overlap = overlap - _distance(a, b, beta)
    hit = (overlap > threshold).nonzero()[:, 0]
    return better[hit], worse[hit]


def _distance(a: Tensor, b: Tensor, beta: float) -> Tensor:
    """(Squared centre distance / squared enclosing diagonal) ** beta; 0 where that is a point."""
    diagonal = enclosing_diagonal(a, b)
    centres = (xyxy_to_cxcywh(a)[..., :2] - xyxy_to_cxcywh(b)[..., :2]).square().sum(dim=-1)
    return torch.where(diagonal == 0, torch.zeros_like(diagonal), (centres / diagonal) ** beta)
