"""Darknet's kinds of non-maximum suppression (NMS), on any device."""

from typing import Literal

import torch
from torch import Tensor

from darknet_torch.heads.boxes import enclosing_diagonal, iou, xyxy_to_cxcywh

__all__ = ["NmsKind", "non_maximum_suppression"]

NmsKind = Literal["default", "greedynms", "diounms"]
PAIRS_AT_ONCE = 1 << 21


def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    threshold: float,
    kind: NmsKind = "default",
    beta: float = 0.6,
) -> Tensor:
    """Return which boxes are kept, as (N,) bool: none overlaps a better kept box of its group.

    There is no loop over boxes: all pairs that overlap are computed at once (in blocks of bounded
    memory); then every box that overlaps a better box still kept is dropped, until nothing changes.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,); of equal ones the first wins.
        groups: (N,) integers; only boxes of the same group compete.
        threshold: overlap above which the box of lower score is dropped.
        kind: overlap is the IoU for "default"; "greedynms" and "diounms" subtract
            (squared centre distance / squared enclosing diagonal) ** beta.
        beta: exponent of "diounms"; that of "greedynms" is always 0.6, as in AlexeyAB's fork.
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
    """Return indices (better, worse) of overlapping pairs of one group; groups are contiguous."""
    _, sizes = torch.unique_consecutive(groups, return_counts=True)
    ends = sizes.cumsum(0).repeat_interleave(sizes)
    index = torch.arange(len(boxes), device=boxes.device)
    later = ends - index - 1  # number of worse boxes of its group behind each box
    total = later.cumsum(0)
    blocks = torch.div(total, PAIRS_AT_ONCE, rounding_mode="floor")
    _, counts = torch.unique_consecutive(blocks, return_counts=True)
    pairs = [
        _overlapping_block(boxes, part, later[part], threshold, beta)
        for part in torch.split(index, counts.tolist())
    ]
    if not pairs:
        return index, index
    better, worse = zip(*pairs, strict=True)
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
    hits = (overlap > threshold).nonzero()[:, 0]
    return better[hits], worse[hits]


def _distance(a: Tensor, b: Tensor, beta: float) -> Tensor:
    """Return (squared centre distance / squared enclosing diagonal) ** beta; 0 for points."""
    diagonal = enclosing_diagonal(a, b)
    centres = (xyxy_to_cxcywh(a)[..., :2] - xyxy_to_cxcywh(b)[..., :2]).square().sum(dim=-1)
    return torch.where(diagonal == 0, torch.zeros_like(diagonal), (centres / diagonal) ** beta)
