"""[yolo]: the head of YOLOv3, v4 and v7."""

import torch
from torch import Tensor

from darknet_torch.heads.anchor_head import AnchorHead
from darknet_torch.heads.anchor_targets import (
    AnchorAssignment,
    assign,
    box_divisor,
    class_targets,
    objectness_targets,
    objects_of_anchors,
)
from darknet_torch.heads.base import Cells, constant
from darknet_torch.heads.box_gradient import IouKind, box_gradient, overlap
from darknet_torch.heads.loss_terms import (
    binary_cross_entropy,
    half_squared,
    rows_at,
    scaled_gradient,
    working_dtype,
)
from darknet_torch.heads.targets import last_row
from darknet_torch.layers.registry import layer
from darknet_torch.layers.truth import AnchorObjects, Loss, LossContext, Truth, given_gradient
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import option


@layer("yolo")
class Yolo(AnchorHead):
    """[yolo]: entries x, y, w, h, objectness, classes for each anchor.

    With `new_coords` the convolution before has squashed everything, and sizes are (2 v) ** 2.
    """

    new_coords: bool = option(False, only=ALEXEYAB)

    # training and tracking
    focal_loss: bool = option(False, only=ALEXEYAB)
    show_details: bool = option(True, only=ALEXEYAB)
    track_history_size: int = option(5, only=ALEXEYAB)
    sim_thresh: float = option(0.8, only=ALEXEYAB)
    dets_for_track: int = option(1, only=ALEXEYAB)
    dets_for_show: int = option(1, only=ALEXEYAB)
    track_ciou_norm: float = option(0.01, only=ALEXEYAB)
    embedding_layer: int | None = option(None, only=ALEXEYAB)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return Darknet's output (B, c, h, w): offsets, objectness and classes squashed."""
        maps = self.maps(inputs[0])
        xy, wh, rest = maps[:, :, :2], maps[:, :, 2:4], maps[:, :, 4:]
        if self.new_coords:
            return torch.cat((self.stretch_xy(xy), wh, rest), dim=2).flatten(1, 2)
        return torch.cat((self.squash_xy(xy), wh, torch.sigmoid(rest)), dim=2).flatten(1, 2)

    def boxes(self, entries: Tensor, cells: Cells) -> Tensor:
        """Return cxcywh (..., 4) in fractions of the network input from raw entries (..., E)."""
        xy, wh = entries[..., :2], entries[..., 2:4]
        if self.new_coords:
            return self.to_boxes(self.stretch_xy(xy), 4 * wh.square(), cells)
        return self.to_boxes(self.squash_xy(xy), wh.exp(), cells)

    def squashed(self, entries: Tensor) -> Tensor:
        """Return objectness or probabilities from their raw entries."""
        return entries if self.new_coords else torch.sigmoid(entries)

    def objectness(self, entry: Tensor) -> Tensor:
        """Return the objectness from its raw entry."""
        return self.squashed(entry)

    def scores(self, entries: Tensor, objectness: Tensor) -> Tensor:
        """Return objectness times class, (..., C)."""
        classes = entries[..., self.ENTRIES :]
        return objectness[..., None] * (classes if self.new_coords else torch.sigmoid(classes))

    def loss(self, raw: Tensor, truth: Truth, context: LossContext) -> Loss:
        """Return box, objectness and class loss of a raw output (B, c, H, W).

        Objectness and classes have a binary cross-entropy; boxes too (x, y) or half the squared
        error (w, h), or with `iou_loss` Darknet's gradient of the overlap, see `box_gradient`.
        """
        maps = self.maps(scaled_gradient(working_dtype(raw), self.delta_normalizer))
        term = half_squared if self.new_coords else binary_cross_entropy
        with torch.no_grad():
            a = assign(self, maps.detach(), truth, context)
            value = self.squashed(maps[:, :, 4])
            objectness = objectness_targets(self, a, value, exponent=1, keeps_smooth=True)
        entries = rows_at(maps, a.place, a.there)  # (K, E)
        with torch.no_grad():
            probabilities = self.squashed(entries[:, self.ENTRIES :])
            classes = class_targets(self, a, probabilities, focal=self.focal_loss)
            deltas = [objectness.delta(value), classes.delta(probabilities)]
            found = deltas[0].flatten()[a.place] != 0
            divisor = box_divisor(a, deltas[1], found & (self.iou_thresh < 1))
        box, box_delta = self._box_loss(entries[:, :4], a, divisor, context.image_shape)
        parts = {
            "box": box,
            "objectness": term(maps[:, :, 4], *objectness),
            "class": term(entries[:, self.ENTRIES :], *classes),
        }
        with torch.no_grad():
            box_delta = torch.zeros_like(box_delta).index_add(0, a.group, box_delta)
            rest = torch.stack([each.square().sum() for each in deltas]).sum()
            return Loss(parts, self._cost(rest, box_delta.square().sum(), a))

    def objects_of_anchors(
        self, truth: Truth, image_shape: tuple[int, int], grid: tuple[int, int]
    ) -> AnchorObjects:
        """Return the object that each anchor learns a box from, for [contrastive]."""
        return objects_of_anchors(self, truth, image_shape, grid)

    def _cost(self, rest: Tensor, boxes: Tensor, a: AnchorAssignment) -> Tensor:
        """Return what Darknet prints, from the squared deltas of boxes and of the rest."""
        if self.iou_loss == "mse" or not self.show_details:
            return rest + boxes
        kind: IouKind = "giou" if self.iou_loss == "giou" else "iou"
        error = a.there * (1 - overlap(kind, *a.boxes()))
        count = a.there[a.late()].sum().clamp_min(1)
        return self.obj_normalizer * rest + self.iou_normalizer * error[a.late()].sum() / count

    def _box_loss(
        self, entries: Tensor, a: AnchorAssignment, divisor: Tensor, image: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of the boxes and its deltas (K, 4) from raw entries (K, 4)."""
        with torch.no_grad():
            predicted, truth = a.boxes()
            weight = self.multipliers(entries)[a.objects.class_id[a.number]] * self.iou_normalizer
            weight = a.there * weight / divisor
            if not self.dialect.yolo_boxes_accumulate:
                row = torch.arange(len(a.group), device=a.group.device)
                weight = weight * (last_row(a.group, len(a.group))[a.group] == row)
        if self.iou_loss == "mse":
            weight = (weight * (2 - truth[:, 2] * truth[:, 3]))[:, None]
            return self._squared_error(entries, a, truth, weight, image)
        with torch.no_grad():
            gradient = box_gradient(self.iou_loss, predicted, truth)
            if not self.new_coords:
                gradient[:, 2:] *= entries[:, 2:].exp()
            gradient = torch.nan_to_num(gradient * (weight * divisor)[:, None], 0.0, 0.0, 0.0)
            delta = gradient.clamp(-self.max_delta, self.max_delta) / divisor[:, None]
            value = weight * (1 - overlap(self.iou_loss, predicted, truth))
        return given_gradient(entries, -delta, value.sum()), delta

    def _squared_error(
        self,
        entries: Tensor,
        a: AnchorAssignment,
        truth: Tensor,
        weight: Tensor,
        image: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Return the loss `mse`, and its deltas (K, 4)."""
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
        delta = torch.cat((weight * (xy - value), weight * (wh - raw_wh)), dim=1).detach()
        return loss + half_squared(raw_wh, wh, weight), delta
