"""Darknet's kinds of non-maximum suppression (NMS), on any device."""

from typing import Literal

import torch
from torch import Tensor

from darknet_torch.heads.boxes import enclosing_diagonal, iou, xyxy_to_cxcywh

__all__ = ["NmsKind", "suppress"]

NmsKind = Literal["default", "greedynms", "diounms"]
PAIRS_AT_ONCE = 1 << 21


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
