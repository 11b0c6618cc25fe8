"""[Gaussian_yolo]: the head of Gaussian YOLOv3, whose boxes have uncertainties."""

import math
from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from darknet_torch.heads.anchor_assignment import AnchorAssignment, assign
from darknet_torch.heads.anchor_head import AnchorHead
from darknet_torch.heads.anchor_targets import box_divisor, class_targets, objectness_targets
from darknet_torch.heads.base import ANCHORS_LACKING, Cells, anchor_numbers, constant
from darknet_torch.heads.box_gradient import box_gradient, overlap
from darknet_torch.heads.loss_terms import (
    binary_cross_entropy,
    rows_at,
    scaled_gradient,
)
from darknet_torch.layers.registry import layer
from darknet_torch.layers.truth import Loss, LossContext, Truth, as_float32, given_gradient
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import option

_LEAST_SIGMA = 0.3
_LEAST_DENSITY = 1e-9


@layer("Gaussian_yolo", only=ALEXEYAB)
class GaussianYolo(AnchorHead):
    """[Gaussian_yolo]: x, sigma x, y, sigma y, w, sigma w, h, sigma h, objectness, classes."""

    anchors: tuple[float, ...] = option((), count=anchor_numbers, lacking=ANCHORS_LACKING)
    yolo_point: Literal["center", "left_top", "right_bottom"] = option("center")
    uc_normalizer: float = option(1.0)

    ENTRIES: ClassVar[int] = 9
    MEANS: ClassVar[slice] = slice(0, 8, 2)
    SIGMAS: ClassVar[slice] = slice(1, 8, 2)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return Darknet's output (B, c, h, w): all but w and h squashed."""
        parts = torch.split_with_sizes(self.maps(inputs[0]), (1,) * 9 + (self.classes,), dim=2)
        return torch.cat(tuple(self._squashed(parts)), dim=2).flatten(1, 2)

    def _squashed(self, parts: tuple[Tensor, ...]) -> Iterable[Tensor]:
        for number, part in enumerate(parts):
            if number in (0, 2):
                yield self.squash_xy(part)
            else:
                yield part if number in (4, 6) else torch.sigmoid(part)

    def boxes(self, entries: Tensor, cells: Cells) -> Tensor:
        """Return cxcywh (..., 4) in fractions of the network input from raw entries (..., E)."""
        means = entries[..., :8].unflatten(-1, (4, 2))[..., 0]  # MEANS, without steps of two
        boxes = self.to_boxes(self.squash_xy(means[..., :2]), means[..., 2:].exp(), cells)
        return torch.cat((boxes[..., :2] + self.shift * boxes[..., 2:], boxes[..., 2:]), dim=-1)

    @property
    def shift(self) -> float:
        """Way from the point that the entries describe to the centre, in sizes of the box."""
        return {"center": 0.0, "left_top": 0.5, "right_bottom": -0.5}[self.yolo_point]

    def point_of(self, boxes: Tensor) -> Tensor:
        """Return the point (..., 2) of cxcywh boxes (..., 4) whose cell predicts them."""
        return boxes[..., :2] - self.shift * boxes[..., 2:]

    def objectness_entry(self) -> int:
        """Return the index of the objectness among an anchor's entries."""
        return 8

    def scores(self, entries: Tensor, objectness: Tensor) -> Tensor:
        """Return objectness times class times certainty, (..., C)."""
        sigmas = entries[..., :8].unflatten(-1, (4, 2))[..., 1]
        uncertainty = torch.sigmoid(sigmas).mean(dim=-1)
        classes = torch.sigmoid(entries[..., self.ENTRIES :])
        return (objectness * (1 - uncertainty))[..., None] * classes

    def loss(self, raw: Tensor, truth: Truth, context: LossContext) -> Loss:
        """Return box, uncertainty, objectness and class loss of a raw output (B, c, H, W).

        Boxes and uncertainties have Darknet's gradient, that of the negative log-likelihood with
        respect to the values behind the sigmoid, which it does not go back through.
        """
        maps = self.maps(scaled_gradient(as_float32(raw), self.delta_normalizer))
        with torch.no_grad():
            a = assign(
                self,
                maps.detach(),
                truth,
                context,
                keep_unknown=True,
                ignored_learn=self.objectness_smooth,
            )
            value = torch.sigmoid(maps[:, :, 8])
            objectness = objectness_targets(self, a, value, exponent=2, keeps_smooth=False)
        entries = rows_at(maps, a.place, a.there)  # (K, E)
        with torch.no_grad():
            probabilities = torch.sigmoid(entries[:, self.ENTRIES :])
            classes = class_targets(self, a, probabilities)
            deltas = [objectness.delta(value), classes.delta(probabilities)]
            divisor = box_divisor(a, deltas[1])
            terms = self._box_terms(entries[:, :8], a, divisor, context.image_shape)
            box, uncertainty, mean_delta, sigma_delta = terms
            deltas += [mean_delta, sigma_delta]
        parts = {
            "box": given_gradient(entries[:, self.MEANS], -mean_delta, box),
            "uncertainty": given_gradient(entries[:, self.SIGMAS], -sigma_delta, uncertainty),
            "objectness": binary_cross_entropy(maps[:, :, 8], *objectness),
            "class": binary_cross_entropy(entries[:, self.ENTRIES :], *classes),
        }
        return Loss(parts, torch.stack([each.square().sum() for each in deltas]).sum())

    def _box_terms(
        self, entries: Tensor, a: AnchorAssignment, divisor: Tensor, image: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return loss of boxes and of uncertainties, and their deltas (K, 4), from (K, 8)."""
        rows = slice(a.classes_only, None)  # (the others are of classes, not of boxes)
        group, there, divisor = a.group[rows], a.there[rows, None], divisor[rows, None]
        raw = entries[rows]
        mean = torch.cat((self.squash_xy(raw[:, 0:3:2]), raw[:, 4:8:2]), dim=1)  # (K, 4)
        sigma = torch.sigmoid(raw[:, self.SIGMAS])
        predicted, truth = (each[rows] for each in a.boxes())
        scale = there * (2 - truth[:, 2] * truth[:, 3])[:, None] / 2
        multiplier = self.multipliers(mean)[a.objects.class_id[a.number[rows]]]
        multiplier = self.iou_normalizer * multiplier[:, None]

        z = (self._wanted(a, truth, rows, image) - mean) / sigma
        wide = sigma + _LEAST_SIGMA
        density = (-z.square() / 2).exp() / (math.sqrt(2 * math.pi) * wide)
        factor = scale * density / (density + _LEAST_DENSITY)
        sigma_loss = scale * (math.sqrt(2 * math.pi) * wide).log()
        if self.iou_loss == "mse":
            mean_delta = factor * z / sigma
            mean_loss = -scale * (density + _LEAST_DENSITY).log() - sigma_loss
        else:
            mean_delta = there * self._overlap_delta(predicted, truth, raw[:, 4:8:2])
            mean_loss = 1 - overlap(self.iou_loss, predicted, truth)[:, None]
        sigma_delta = factor * (z.square() / sigma - 1 / wide)
        deltas = [
            torch.nan_to_num(each, 0.0, 0.0, 0.0).clamp(-self.max_delta, self.max_delta) / divisor
            for each in (mean_delta * multiplier, sigma_delta * self.uc_normalizer)
        ]
        mean_delta, sigma_delta = (
            torch.zeros_like(entries[:, :4]).index_add(0, group, each) for each in deltas
        )
        box = (multiplier * mean_loss / divisor).sum()
        return box, (self.uc_normalizer * sigma_loss / divisor).sum(), mean_delta, sigma_delta

    def _wanted(
        self, a: AnchorAssignment, truth: Tensor, rows: slice, image: tuple[int, int]
    ) -> Tensor:
        """Return what x, y, w, h (K, 4) shall be, as the entries have them."""
        height, width = a.predicted.shape[2:4]
        pairs = constant(self.pairs(), truth)[a.anchor()[rows]]
        xy = self.point_of(truth) * constant((width, height), truth) - a.cell()[rows]
        wh = (truth[:, 2:] * constant((image[1], image[0]), truth) / pairs).log()
        return torch.cat((xy, wh), dim=1)

    def _overlap_delta(self, predicted: Tensor, truth: Tensor, raw_wh: Tensor) -> Tensor:
        """Return Darknet's gradient of the overlap for the entries x, y, w, h, (K, 4)."""
        gradient = box_gradient(self.iou_loss, predicted, truth)
        xy, wh = gradient[:, :2], gradient[:, 2:]
        return torch.cat((xy - self.shift * wh, wh * raw_wh.exp()), dim=1)
