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

__all__ = ["DecodingOptions", "decode"]


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
    shape, lowest = options.network.plan.input, options.thresholds.lowest
    heads = list(zip(options.heads, raw, strict=True))
    return join(
        [
            head.select(
                each,
                (shape.h, shape.w),
                lowest,
                hier_threshold=options.hier_threshold,
                use_map=options.use_map,
                count=count,
            )
            for (head, each), count in zip(heads, _counts(heads, lowest), strict=True)
        ]
    )


def _counts(heads: Sequence[tuple[Head, Tensor]], threshold: float) -> Sequence[int | None]:
    """Return how many boxes of each head pass, where that saves to wait for each head alone."""
    if not heads[0][1].is_cuda:
        return [None] * len(heads)
    return torch.stack([head.passing(raw, threshold).sum() for head, raw in heads]).tolist()
