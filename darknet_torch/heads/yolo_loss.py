"""The loss of [yolo]: the anchors of each object, their boxes, objectness and classes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from darknet_torch.heads.anchor_assignment import AnchorAssignment, assign, objects_of_anchors
from darknet_torch.heads.anchor_head import AnchorHead
from darknet_torch.heads.anchor_targets import box_divisor, class_targets, objectness_targets
from darknet_torch.heads.base import constant
from darknet_torch.heads.box_gradient import BoxPairs, IouKind
from darknet_torch.heads.loss_terms import (
    Given,
    binary_cross_entropy,
    entry_index,
    given_gradients,
    half_squared,
    scaled_gradient,
)
from darknet_torch.heads.targets import last_row, numbers
from darknet_torch.layers.truth import AnchorObjects, Loss, LossContext, Truth, as_float32
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import option

__all__ = ["YoloLoss"]

LARGEST = 3.4e38
"""A bound of gradients that bounds none."""


@dataclass(frozen=True, kw_only=True)
class YoloLoss(AnchorHead):
    """A head with the loss of [yolo], which needs no gradient of torch's: it is given.

    With `new_coords` the convolution before has squashed everything, and sizes are (2 v) ** 2.
    """

    new_coords: bool = option(False, only=ALEXEYAB)
    focal_loss: bool = option(False, only=ALEXEYAB)
    show_details: bool = option(True, only=ALEXEYAB)

    def squashed(self, entries: Tensor) -> Tensor:
        """Return objectness or probabilities from their raw entries."""
        return entries if self.new_coords else torch.sigmoid(entries)

    def loss(self, raw: Tensor, truth: Truth, context: LossContext) -> Loss:
        """Return box, objectness and class loss of a raw output (B, c, H, W).

        Objectness and classes have a binary cross-entropy; boxes too (x, y) or half the squared
        error (w, h), or with `iou_loss` Darknet's gradient of the overlap, see `box_gradient`.
        """
        maps = self.maps(scaled_gradient(as_float32(raw), self.delta_normalizer))
        with torch.no_grad():
            parts, cost = self._parts(maps, truth, context)
        return Loss(given_gradients(maps, parts), cost)

    def _parts(
        self, maps: Tensor, truth: Truth, context: LossContext
    ) -> tuple[dict[str, Given], Tensor]:
        """Return the parts of the loss with their gradients, and what Darknet prints."""
        a, raw = assign(self, maps, truth, context), maps[:, :, 4]
        value = self.squashed(raw)
        objectness = objectness_targets(self, a, value, exponent=1, keeps_smooth=True)
        change = objectness.gradient(value)
        index = entry_index(maps, a.place)
        entries = maps.flatten().index_select(0, index.flatten()).view(index.shape)  # (K, E)
        raw_classes = entries[:, self.ENTRIES :]
        probabilities = self.squashed(raw_classes)
        classes = class_targets(self, a, probabilities, focal=self.focal_loss)
        class_change = classes.gradient(probabilities)
        divisor = None
        if self.iou_thresh < 1:
            divisor = box_divisor(a, -class_change, change.flatten()[a.place] != 0)
        pairs = None if self.iou_loss == "mse" else BoxPairs.of_training(*a.boxes())
        box, box_change = self._box_loss(entries[:, :4], a, pairs, divisor, context.image_shape)
        term = half_squared if self.new_coords else binary_cross_entropy
        parts = {
            "box": Given(box, box_change, index[:, :4]),
            "objectness": Given(term(raw, *objectness), change, 4),
            "class": Given(term(raw_classes, *classes), class_change, index[:, self.ENTRIES :]),
        }
        rest = _squares(change) + _squares(class_change)
        return parts, self._cost(rest, box_change, a, pairs)

    def objects_of_anchors(
        self, truth: Truth, image_shape: tuple[int, int], grid: tuple[int, int]
    ) -> AnchorObjects:
        """Return the object that each anchor learns a box from, for [contrastive]."""
        return objects_of_anchors(self, truth, image_shape, grid)

    def _cost(
        self, rest: Tensor, boxes: Tensor, a: AnchorAssignment, pairs: BoxPairs | None
    ) -> Tensor:
        """Return what Darknet prints.

        Args:
            rest: () the squared gradients of objectness and classes.
            boxes: the gradients (K, 4) of boxes.
            a: the assignment.
            pairs: of its boxes; None with `iou_loss=mse`.
        """
        if pairs is None or not self.show_details:
            return rest + _squares(torch.zeros_like(boxes).index_add_(0, a.group, boxes))
        kind: IouKind = "giou" if self.iou_loss == "giou" else "iou"
        late = a.there[a.late()]
        error = (1 - pairs.overlap(kind)[1, a.late()]).mul_(late).sum()
        error = error.div_(late.sum().clamp_min_(1))
        rest = rest if self.obj_normalizer == 1 else self.obj_normalizer * rest
        return torch.add(rest, error, alpha=self.iou_normalizer)

    def _box_loss(
        self,
        entries: Tensor,
        a: AnchorAssignment,
        pairs: BoxPairs | None,
        divisor: Tensor | None,
        image: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of the boxes and its gradient (K, 4) for raw entries (K, 4).

        Args:
            entries: the raw entries.
            a: the assignment.
            pairs: of its boxes; None with `iou_loss=mse`.
            divisor: of the gradients, (K,); None: 1.
            image: height and width of the network's input in pixels.
        """
        weight = a.there * -self.iou_normalizer  # of the delta; the gradient is minus that
        if self.counters_per_class:
            weight = weight * self.multipliers(entries)[a.objects.class_id[a.number]]
        if not self.dialect.yolo_boxes_accumulate:
            last = last_row(a.group, len(a.group))[a.group]
            weight = weight * (last == numbers(len(last), last))
        share = weight if divisor is None else weight / divisor
        if pairs is None:
            return self._squared_error(entries, a, -share, image)
        gradient = pairs.gradient(self.iou_loss)[0]
        if not self.new_coords:
            gradient[:, 2:].mul_(entries[:, 2:].exp())
        gradient = gradient.mul_(weight[:, None]).nan_to_num_(0.0, 0.0, 0.0)
        if self.max_delta < LARGEST:
            gradient = gradient.clamp_(-self.max_delta, self.max_delta)
        if divisor is not None:
            gradient = gradient.div_(divisor[:, None])
        return (pairs.overlap(self.iou_loss)[1] - 1).mul_(share).sum(), gradient

    def _squared_error(
        self, entries: Tensor, a: AnchorAssignment, weight: Tensor, image: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the loss `mse` of raw entries (K, 4) with weights (K,), and its gradient."""
        _, truth = a.boxes()
        weight = (weight * (2 - truth[:, 2] * truth[:, 3]))[:, None]
        height, width = a.predicted.shape[2:4]
        pairs = constant(self.pairs(), truth)[a.anchor()]
        xy = truth[:, :2] * constant((width, height), truth) - a.cell()
        ratio = truth[:, 2:] * constant((image[1], image[0]), truth) / pairs
        wh = (ratio / 4).sqrt() if self.new_coords else ratio.log()
        stretch = self.scale_x_y
        raw_xy, raw_wh = entries[:, :2], entries[:, 2:]
        if self.new_coords:
            value = self.stretch_xy(raw_xy)
            loss = half_squared(value, xy, weight / stretch)
        else:
            value = self.squash_xy(raw_xy)
            wanted = (xy + 0.5 * (stretch - 1)) / stretch
            loss = binary_cross_entropy(raw_xy, wanted, weight * stretch)
        gradient = torch.cat((value - xy, raw_wh - wh), dim=1).mul_(weight)
        return loss + half_squared(raw_wh, wh, weight), gradient


def _squares(values: Tensor) -> Tensor:
    """Return the sum () of the squares of values."""
    flat = values.flatten()
    return flat.dot(flat)
