"""The outputs of a network, or of a converted file -> the boxes that may become detections."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from darknet_torch.heads.base import Head
from darknet_torch.heads.boxes import Candidates, join
from darknet_torch.inference.postprocess import candidates_of_boxes, candidates_of_detections
from darknet_torch.inference.thresholds import Thresholds
from darknet_torch.network import Runnable

__all__ = ["DecodingOptions", "decode", "passing_counts", "select"]


class DecodingOptions(Protocol):
    """What decoding depends on; a `Detector` has all of it."""

    network: Runnable
    heads: tuple[Head, ...]
    thresholds: Thresholds
    hier_threshold: float
    use_map: bool

    @property
    def class_count(self) -> int:
        """Number of classes that are scored."""


def decode(options: DecodingOptions, outputs: Sequence[Tensor]) -> Candidates:
    """Return the boxes of a batch with a score above the threshold of its class.

    Args:
        options: a detector.
        outputs: of its network, as its `contents` say.
    """
    lowest = options.thresholds.lowest
    if options.network.contents == "boxes":
        boxes, scores = outputs
        candidates = candidates_of_boxes(boxes, scores, lowest)
    elif options.network.contents == "detections":
        (rows,) = outputs
        candidates = candidates_of_detections(rows, options.class_count, lowest)
    else:
        candidates = _of_raw(options, outputs)
    return options.thresholds.applied(candidates)


def _of_raw(options: DecodingOptions, raw: Sequence[Tensor]) -> Candidates:
    """Decode the raw outputs of all heads."""
    # a graphics card is waited for once, not by each head
    counts = passing_counts(options, raw).tolist() if raw[0].is_cuda else [None] * len(raw)
    return join(select(options, raw, counts))


def select(
    options: DecodingOptions, raw: Sequence[Tensor], counts: Sequence[int | None]
) -> list[Candidates]:
    """Return the candidates of each head among its raw output.

    Args:
        options: a detector.
        raw: of all heads.
        counts: see `Head.select`.
    """
    shape = options.network.plan.input
    return [
        head.select(
            each,
            (shape.h, shape.w),
            options.thresholds.lowest,
            hier_threshold=options.hier_threshold,
            use_map=options.use_map,
            count=count,
        )
        for head, each, count in zip(options.heads, raw, counts, strict=True)
    ]


def passing_counts(options: DecodingOptions, raw: Sequence[Tensor]) -> Tensor:
    """Return how many boxes of each head pass its threshold, (heads,) int64, on their device."""
    lowest = options.thresholds.lowest
    pairs = zip(options.heads, raw, strict=True)
    return torch.stack([head.passing(each, lowest).sum() for head, each in pairs])
