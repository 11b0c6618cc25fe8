"""Decoded boxes -> detections: class filter, NMS, back to pixels of each image.

The order of the steps is Darknet's: threshold, boxes as fractions of the image, NMS there (the
distance of `diounms` depends on it), and only then pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, starmap
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from darknet_torch.errors import warn
from darknet_torch.heads.boxes import Candidates, xyxy_to_cxcywh
from darknet_torch.heads.nms import NmsKind, kept_boxes
from darknet_torch.images.resizing import Placement
from darknet_torch.inference.detections import Detections, unchecked

__all__ = [
    "PostProcess",
    "candidates_of_boxes",
    "candidates_of_detections",
    "nan_sums",
    "warn_of_nan",
]

Array = npt.NDArray[Any]

FAR = 10_000_000
"""Pixels at which an edge lies that is infinitely far away."""


@dataclass(frozen=True, kw_only=True)
class PostProcess:
    """The way from the candidates of a batch to detections.

    Args:
        nms: IoU above which the weaker of two boxes is dropped; 0 keeps all.
        nms_kind: "default", "greedynms", "diounms" or "objectness".
        beta: exponent of `diounms`.
        classes: number of classes.
        names: of the classes.
        class_filter: class indices to keep; None keeps all.
        agnostic: boxes of different classes compete too.
        max_det: most detections of an image; None keeps all.
    """

    nms: float
    nms_kind: str
    beta: float
    classes: int
    names: tuple[str, ...]
    class_filter: frozenset[int] | None = None
    agnostic: bool = False
    max_det: int | None = None

    @np.errstate(all="ignore")  # boxes may be infinite
    def __call__(
        self,
        candidates: Candidates,
        placements: Sequence[Placement],
        paths: Sequence[str | None],
    ) -> list[Detections]:
        """Return the detections of each image of a batch.

        Args:
            candidates: boxes in fractions of the network's input, see `Candidates`.
            placements: how each image lies in the network's input.
            paths: the file of each image, or None.
        """
        scored = self._scored(candidates, placements)
        order = np.lexsort((-scored.score, scored.image))
        sizes = np.array([(each.image_w, each.image_h) * 2 for each in placements], np.float32)
        xyxy = (scored.boxes * sizes[scored.image])[order]
        counts = np.bincount(scored.image, minlength=len(placements))
        _warn_of_infinite(xyxy, counts, paths)
        columns = (
            np.nan_to_num(xyxy, nan=0.0, posinf=FAR, neginf=-FAR),
            np.nan_to_num(scored.score[order]),
            scored.class_id[order],
        )
        parts = starmap(slice, pairwise([0, *counts.cumsum().tolist()]))
        images = zip(parts, placements, paths, strict=True)
        return [self._detections(columns, *each) for each in images]

    def _scored(self, candidates: Candidates, placements: Sequence[Placement]) -> "_Scored":
        """Return one row for each box and class that survives NMS."""
        image, cxcywh, objectness, scores = (each.numpy() for each in candidates)
        boxes = _fractions_of_image(image, cxcywh, placements)
        scores = scores * (objectness != 0)[:, None]
        if self.class_filter is not None:
            scores = scores * _class_mask(self.class_filter, scores.shape[1])
        by_objectness = self.nms_kind == "objectness"
        if by_objectness and self.nms:
            alive = kept_boxes(boxes, objectness, image, self.nms, "default", self.beta)
            scores = scores * alive[:, None]
        box, class_id = (scores > 0).nonzero()
        scored = _Scored(image[box], boxes[box], scores[box, class_id], class_id)
        return scored if by_objectness or not self.nms else self._after_nms(scored)

    def _after_nms(self, scored: "_Scored") -> "_Scored":
        groups = scored.image if self.agnostic else scored.image * self.classes + scored.class_id
        kinds: dict[str, NmsKind] = {"greedynms": "greedynms", "diounms": "diounms"}
        kind = kinds.get(self.nms_kind, "default")
        alive = kept_boxes(scored.boxes, scored.score, groups, self.nms, kind, self.beta)
        return _Scored(*(column[alive] for column in scored))

    def _detections(
        self, columns: Sequence[Array], part: slice, placement: Placement, path: str | None
    ) -> Detections:
        """Return the detections of an image.

        Args:
            columns: xyxy, scores and class indices of the batch.
            part: the rows of the image.
            placement: how it lies in the network's input.
            path: its file.
        """
        # copies, not views of the whole batch
        xyxy, score, class_id = [
            torch.from_numpy(column[part][: self.max_det].copy()) for column in columns
        ]
        return unchecked(
            xyxy=xyxy,
            score=score,
            class_id=class_id,
            names=self.names,
            width=placement.image_w,
            height=placement.image_h,
            path=path,
        )


def _warn_of_infinite(xyxy: Array, counts: Array, paths: Sequence[str | None]) -> None:
    """Warn of images with boxes that are not finite; numbers take their place.

    The exponential of a box's size overflows after training that diverged, for example. Darknet
    goes on, and such a box matches no ground truth; neither does one that reaches so far, or that
    has no area.
    """
    finite = np.isfinite(xyxy)
    if finite.all():
        return
    odd = ~finite.all(axis=1)
    for part, path in zip(np.split(odd, counts.cumsum()[:-1]), paths, strict=True):
        if part.any():
            warn(
                f"{path or 'an image'}: {int(part.sum())} of {len(part)} boxes are infinite or NaN:"
                f" their edges are put {FAR:,} pixels away, or at 0; do the weights belong to this"
                " cfg?",
                kind="boxes are infinite or NaN",
            )


def nan_sums(outputs: Sequence[Tensor]) -> Tensor:
    """Return a sum for each image of a batch, NaN where an output of it is, (B,) on their device.

    Infinite outputs can make a sum NaN, too. It takes a tenth of the time of looking at each.

    Args:
        outputs: of a batch: raw maps, or boxes and scores; the images come first.
    """
    return sum((each.flatten(1).sum(dim=1) for each in outputs), torch.zeros(()))


def warn_of_nan(outputs: Sequence[Tensor], sums: Tensor, detections: Sequence[Detections]) -> None:
    """Warn of images without detections whose outputs are NaN: no score is above a threshold then.

    Args:
        outputs: of a batch, see `nan_sums`.
        sums: its sums, on the CPU.
        detections: of the batch's images.
    """
    if not outputs or all(map(len, detections)):
        return
    for number, is_odd in enumerate(sums.isnan().tolist()):
        may_warn = is_odd and not len(detections[number])
        if may_warn and any(bool(each[number].isnan().any()) for each in outputs):
            warn(
                f"{detections[number].path or 'an image'}: no detections, as outputs of the network"
                " are NaN; do the weights belong to this cfg?",
                kind="no detections, as outputs of the network are NaN",
            )


def _class_mask(classes: frozenset[int], count: int) -> Array:
    """Return (C,) bool: whether a class is kept."""
    mask = np.zeros(count, dtype=bool)
    mask[list(classes)] = True
    return mask


class _Scored(NamedTuple):
    """Boxes with one class each: (K,), (K, 4) xyxy in fractions of the image, (K,), (K,)."""

    image: Array
    boxes: Array
    score: Array
    class_id: Array


def candidates_of_boxes(boxes: Tensor, scores: Tensor, threshold: float) -> Candidates:
    """Return the candidates among boxes (B, N, 4) xyxy with scores (B, N, C) above a threshold."""
    scores = scores * (scores > threshold)
    image, number = scores.amax(dim=2).nonzero(as_tuple=True)
    objectness = scores.new_ones(len(image))
    return Candidates(
        image, xyxy_to_cxcywh(boxes[image, number]), objectness, scores[image, number]
    )


def candidates_of_detections(rows: Tensor, classes: int, threshold: float) -> Candidates:
    """Return a candidate for each row above a threshold, of detections after NMS.

    Args:
        rows: (K, 7): index of the image in the batch, box as xyxy, score, class index.
        classes: number of classes.
        threshold: lowest score of a detection.
    """
    rows = rows[rows[:, 5] > threshold]
    scores = rows.new_zeros(len(rows), classes)
    scores.scatter_(1, rows[:, 6:].long(), rows[:, 5:6])
    boxes = xyxy_to_cxcywh(rows[:, 1:5])
    return Candidates(rows[:, 0].long(), boxes, rows.new_ones(len(rows)), scores)


def _fractions_of_image(image: Array, boxes: Array, placements: Sequence[Placement]) -> Array:
    """Return (M, 4) xyxy in fractions of each box's image, of cxcywh in those of the input."""
    affine = np.array([placement.affine() for placement in placements], np.float32)[image]
    scale, offset = affine[:, 0::2], affine[:, 1::2]
    centre, half = boxes[:, :2] * scale + offset, boxes[:, 2:] * scale / 2
    return np.concatenate((centre - half, centre + half), axis=1)
