"""[region]: the head of YOLOv2 and YOLO9000."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.heads.base import anchor_pairs, constant
from darknet_torch.heads.loss_terms import (
    Targets,
    binary_cross_entropy,
    half_squared,
    rows_at,
)
from darknet_torch.heads.region_decoder import RegionDecoder
from darknet_torch.heads.region_targets import (
    RegionAssignment,
    assign,
    class_targets,
    objectness_targets,
)
from darknet_torch.heads.targets import written
from darknet_torch.layers.registry import layer
from darknet_torch.layers.truth import Loss, LossContext, Masks, Truth, as_float32, given_gradient

_WARM_UP = 12_800
"""Images during which all boxes learn the shapes of their anchors, too."""
_WARM_UP_WEIGHT = 0.01


@layer("region")
class Region(RegionDecoder):
    """[region]: entries x, y, w, h (more with `coords`), objectness, classes for each anchor.

    Anchors are in cells. With a `tree` the classes are nodes of a word tree and their
    probabilities are multiplied down from its root.
    """

    @property
    def masks(self) -> Masks | None:
        """Those of boxes, where the coordinates behind the box are the pixels of a mask."""
        side = math.isqrt(self.coords - 4)
        if self.dialect.region_by_cell or self.coords == 4 or side * side != self.coords - 4:
            return None
        return Masks(self.classes, self.max, side)

    def lacks_anchors(self) -> bool:
        """Return whether the section names no anchor."""
        return not self.anchors

    def training_phase(self, seen: int) -> int | None:
        """Return whether the first images are behind, in which all boxes learn."""
        return int(seen >= _WARM_UP)

    def loss(self, raw: Tensor, truth: Truth, context: LossContext) -> Loss:
        """Return box, objectness and class loss of a raw output (B, c, H, W).

        Boxes and objectness have half the squared error, classes the cross-entropy of their kind:
        softmax, word tree, or independent.
        """
        maps = self.maps(as_float32(raw))
        raw_objectness = maps[:, :, self.objectness_entry()]
        with torch.no_grad():
            value = self._objectness_value(maps)
            a = assign(self, maps.detach(), value, truth, context)
            objectness = objectness_targets(self, a)
            delta = objectness.delta(value)
        box, box_cost = self._box_loss(maps, a, context)
        masks, mask_cost = self._mask_loss(maps, a, truth)
        classes, class_cost = self._class_loss(maps, a)
        if self._background_in_softmax:
            term = given_gradient(raw_objectness, -delta, delta.square().sum() / 2)
        elif self.background:
            term = half_squared(raw_objectness, *objectness)
        else:
            term = half_squared(torch.sigmoid(raw_objectness), *objectness)
            delta = self._printed(delta, value)
        cost = box_cost + delta.square().sum() + class_cost + mask_cost
        parts = {"box": box, "objectness": term, "class": classes}
        return Loss(parts | ({"mask": masks} if self.masks else {}), cost)

    @property
    def _background_in_softmax(self) -> bool:
        return self.background and self.softmax and self.tree is None

    def _objectness_value(self, maps: Tensor) -> Tensor:
        """Return the objectness (B, A, H, W) as Darknet's output has it."""
        if self._background_in_softmax:
            return torch.softmax(maps[:, :, self.class_entries()], dim=2)[:, :, 0]
        raw = maps[:, :, self.objectness_entry()]
        return raw if self.background else torch.sigmoid(raw)

    def _printed(self, delta: Tensor, value: Tensor) -> Tensor:
        """Return the delta that is in the printed cost, of a value behind a sigmoid."""
        return delta * value * (1 - value) if self.dialect.region_cost_after_sigmoid else delta

    def _box_loss(
        self, maps: Tensor, a: RegionAssignment, context: LossContext
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of the boxes, and its part of the printed cost."""
        entries = rows_at(maps, a.place, a.learned)
        _, truth = a.boxes()
        height, width = maps.shape[3:]
        size = constant((width, height), truth)
        anchor = a.place // (height * width) % self.num
        pairs = constant(anchor_pairs(self.anchors, self.num), truth)[anchor]
        cell = torch.stack((a.place % width, a.place // width % height), dim=1)
        xy = truth[:, :2] * size - cell
        wh = (truth[:, 2:] * size / pairs).log()
        weight = self.coord_scale * a.learned[:, None].to(truth.dtype)
        if self.dialect.region_small_boxes:
            weight = weight * (2 - truth[:, 2:3] * truth[:, 3:4])
        loss, cost = self._squared(entries[:, :2], entries[:, 2:4], xy, wh, weight)
        if context.seen >= _WARM_UP:
            return loss, cost
        warm = torch.full_like(a.overlap.iou, _WARM_UP_WEIGHT)
        if a.class_only is not None:
            warm = warm.masked_fill(a.class_only[:, None, None, None], 0.0)
        warm = written(warm, a.place, a.learned, 0.0)
        half, zero = warm.new_full((), 0.5), warm.new_zeros(())
        more, more_cost = self._squared(
            maps[:, :, :2], maps[:, :, 2:4], half, zero, warm[:, :, None]
        )
        return loss + more, cost + more_cost

    def _mask_loss(self, maps: Tensor, a: RegionAssignment, truth: Truth) -> tuple[Tensor, Tensor]:
        """Return the loss of the masks of the boxes, and its part of the printed cost.

        Its entries are squashed in training, as in Darknet's GPU code.
        """
        if self.masks is None or truth.masks is None or not len(a.place):
            return maps.new_zeros(()), maps.new_zeros(())
        if truth.masks.shape[2:].numel() != self.coords - 4:
            shape = tuple(truth.masks.shape[2:])
            raise UsageError(f"ground truth: masks of {shape}; coords={self.coords} needs others")
        count = a.objects.by_image.shape[1]
        wanted = truth.masks[:, :count].flatten(0, 1).flatten(1).to(maps.dtype)
        value = torch.sigmoid(rows_at(maps, a.place, a.learned)[:, 4 : self.coords])
        weight = int(self.mask_scale) * a.learned[:, None].to(value.dtype)  # whole in Darknet
        delta = self._printed(weight * (wanted - value), value).detach()
        return half_squared(value, wanted, weight), delta.square().sum()

    def _squared(
        self, raw_xy: Tensor, raw_wh: Tensor, xy: Tensor, wh: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of some boxes, and its part of the printed cost."""
        value = torch.sigmoid(raw_xy)
        loss = half_squared(value, xy, weight) + half_squared(raw_wh, wh, weight)
        with torch.no_grad():
            deltas = self._printed(weight * (xy - value), value), weight * (wh - raw_wh)
            return loss, deltas[0].square().sum() + deltas[1].square().sum()

    def _class_loss(self, maps: Tensor, a: RegionAssignment) -> tuple[Tensor, Tensor]:
        """Return the loss of the classes, and its part of the printed cost."""
        entries = rows_at(maps, a.labels.place, a.labels.there)[:, self.class_entries()]
        with torch.no_grad():
            value = self.probabilities(entries)[:, -self.classes :]
            targets = class_targets(self, a, value)
            delta = targets.delta(value)
        loss = self._cross_entropy(entries, targets, delta)
        return loss, delta.square().sum()

    def _cross_entropy(self, entries: Tensor, targets: Targets, delta: Tensor) -> Tensor:
        """Return the loss of raw class entries (R, C), with a background (R, 1 + C)."""
        if self.tree is None and not self.softmax:
            logistic = self.dialect.region_logistic_classes
            return (binary_cross_entropy if logistic else half_squared)(entries, *targets)
        tree = self.word_tree
        logs = F.log_softmax(entries, dim=-1) if tree is None else tree.log_softmax(entries)
        losses = -targets.weight * targets.target * logs[:, -self.classes :]
        if self._background_in_softmax:  # its delta has another weight than those of the classes
            return given_gradient(entries[:, 1:], -delta, losses.detach().sum())
        return losses.sum()
