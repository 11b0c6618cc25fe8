"""[detection]: the head of YOLOv1, which reads one vector."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.heads.base import Cells, Head
from darknet_torch.heads.boxes import cxcywh_to_xyxy, iou
from darknet_torch.heads.loss_terms import half_squared
from darknet_torch.heads.targets import cell_of, objects_of, same_place, written
from darknet_torch.layers.base import Shape
from darknet_torch.layers.registry import layer
from darknet_torch.layers.truth import Loss, LossContext, Truth, as_float32
from darknet_torch.parsing.options import option

_RANDOM_IMAGES = 64_000
"""Images during which `random` chooses the box that learns an object."""
_SMALL_AREA = 0.1
"""Area below which `forced` chooses the second box."""


@layer("detection")
class DetectionHead(Head):
    """[detection]: classes of each cell, then confidences, then boxes of each cell.

    Box entries are used as they come: x, y inside the cell, w, h in fractions of the image (their
    roots with `sqrt`). Darknet's `yolo` command stretches images instead of letterboxing them.
    """

    stretches_images: ClassVar[bool] = True
    heeds_max: ClassVar[bool] = False

    classes: int = option(1, check=lambda n: n > 0, expected="at least 1")
    coords: int = option(1, check=lambda n: n == 4, expected="4")
    num: int = option(1, check=lambda n: n > 0, expected="at least 1")
    side: int = option(7, check=lambda n: n > 0, expected="at least 1")
    softmax: bool = option(False)
    sqrt: bool = option(False)

    # training
    rescore: bool = option(False)
    max: int = option(30)
    forced: bool = option(False)
    random: bool = option(False)
    reorg: bool = option(False)
    jitter: float = option(0.2)
    coord_scale: float = option(1.0)
    object_scale: float = option(1.0)
    noobject_scale: float = option(1.0)
    class_scale: float = option(1.0)

    def shape(self, *inputs: Shape) -> Shape:
        """Return a vector; ValueError if its length does not fit cells, boxes and classes."""
        _must_fit(self, inputs[0].size)
        return Shape(inputs[0].size)

    def training_phase(self, seen: int) -> int | None:
        """Return None while the box that learns an object is drawn at random."""
        return None if self.random and seen < _RANDOM_IMAGES else 0

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return Darknet's output (B, n)."""
        x = inputs[0].flatten(1)
        if not self.softmax:
            return x
        classes, rest = self._class_scores(x), x[:, self.side**2 * self.classes :]
        return torch.cat((classes.flatten(1), rest), dim=1)

    def _class_scores(self, x: Tensor) -> Tensor:
        """Return (B, cells, C)."""
        cells = self.side**2
        classes = torch.unflatten(x[:, : cells * self.classes], 1, (cells, self.classes))
        return torch.softmax(classes, dim=-1) if self.softmax else classes

    def maps(self, raw: Tensor) -> Tensor:
        """Return (B, num, 5 + C, side, side): x, y, w, h, confidence, classes of each box."""
        x, cells, n, first = raw.flatten(1), self.side**2, self.num, self.side**2 * self.classes
        classes = self._class_scores(x)[:, :, None].expand(-1, -1, n, -1)
        confidences = torch.unflatten(x[:, first : first + cells * n], 1, (cells, n, 1))
        boxes = torch.unflatten(x[:, first + cells * n :], 1, (cells, n, 4))
        entries = torch.cat((boxes, confidences, classes), dim=-1)  # (B, cells, n, 5 + C)
        return torch.unflatten(entries.permute(0, 2, 3, 1), -1, (self.side, self.side))

    def boxes(self, entries: Tensor, cells: Cells) -> Tensor:
        """Return cxcywh (..., 4) in fractions of the image from entries (..., E)."""
        x = (entries[..., 0] + cells.x) / self.side
        y = (entries[..., 1] + cells.y) / self.side
        wh = entries[..., 2:4].square() if self.sqrt else entries[..., 2:4]
        return torch.cat((torch.stack((x, y), dim=-1), wh), dim=-1)

    def objectness(self, entry: Tensor) -> Tensor:
        """Return the confidence, which needs no sigmoid."""
        return entry

    def may_count(self, objectness: Tensor, threshold: float) -> Tensor:
        """Return which boxes can have a score that counts: all but 0 (no sigmoid here)."""
        return objectness != 0

    def scores(self, entries: Tensor, objectness: Tensor) -> Tensor:
        """Return confidence times class, (..., C)."""
        return objectness[..., None] * entries[..., 5:]

    def loss(self, raw: Tensor, truth: Truth, context: LossContext) -> Loss:
        """Return box, objectness and class loss of a raw output (B, n).

        A cell learns the first of the objects whose centre it contains, with one of its boxes. All
        is half the squared error, but the classes of `softmax` have the cross-entropy.
        """
        x = as_float32(raw).flatten(1)
        side, n, cells = self.side, self.num, self.side**2
        scores = torch.unflatten(x[:, : cells * self.classes], 1, (cells, self.classes))
        rest = x[:, cells * self.classes :]
        confidence = torch.unflatten(rest[:, : cells * n], 1, (cells, n))
        boxes = torch.unflatten(rest[:, cells * n :], 1, (cells, n, 4))
        with torch.no_grad():
            objects = objects_of(truth, self.classes, truth.valid.shape[1])
            column, row = cell_of(objects.boxes[:, :2], (side, side))
            place = (objects.image * side + row) * side + column
            image, cell = objects.image, place % cells
            rows = torch.arange(len(place), device=place.device)
            first = same_place(place, objects.there, len(x) * cells) == rows
            learned = (objects.there & first)[:, None]
            true = objects.boxes.to(x.dtype)
            corner = torch.stack((column, row), dim=1)
            found = boxes[image, cell]
            sizes = found[..., 2:].square() if self.sqrt else found[..., 2:]
            predicted = torch.cat((found[..., :2], sizes), dim=-1)
            overlap, error = _fit(predicted, true, corner, side)
            best = self._responsible(overlap, error, true, context)
            score = overlap.gather(1, best[:, None])[:, 0]
            score = score if self.rescore else torch.ones_like(score)
            target, weight = (
                written(torch.full_like(confidence, base), place * n + best, learned[:, 0], value)
                for base, value in ((0.0, score), (self.noobject_scale, self.object_scale))
            )
            wh = true[:, 2:].sqrt() if self.sqrt else true[:, 2:]
            wanted = torch.cat((true[:, :2] * side - corner, wh), dim=1)
            numbers = torch.arange(self.classes, device=x.device)
            onehot = (objects.class_id[:, None] == numbers).to(x.dtype)
            coord_scale, class_scale = self.coord_scale * learned, self.class_scale * learned
        none = x.new_zeros(())
        mine = boxes[image, cell, best].where(learned, none)
        classes = scores[image, cell].where(learned, none)
        value = torch.softmax(classes, dim=-1) if self.softmax else classes
        if self.softmax:
            entropy = -(class_scale * onehot * F.log_softmax(classes, dim=-1)).sum()
        else:
            entropy = half_squared(classes, onehot, class_scale)
        parts = {
            "box": half_squared(mine, wanted, coord_scale),
            "objectness": half_squared(confidence, target, weight),
            "class": entropy,
        }
        with torch.no_grad():
            deltas = (
                coord_scale * (wanted - mine),
                weight * (target - confidence),
                class_scale * (onehot - value),
            )
            return Loss(parts, torch.stack([each.square().sum() for each in deltas]).sum())

    def _responsible(
        self, overlap: Tensor, error: Tensor, true: Tensor, context: LossContext
    ) -> Tensor:
        """Return which of its boxes (K,) learns the object of each cell."""
        if self.random and context.seen < _RANDOM_IMAGES:
            return _drawn(self.num, true, context.generator)
        if self.forced:
            small = true[:, 2] * true[:, 3] < _SMALL_AREA
            return small.to(torch.int64).clamp_max(self.num - 1)
        meets = (overlap > 0).any(dim=1)
        return torch.where(meets, overlap.argmax(dim=1), error.argmin(dim=1))


def _drawn(num: int, true: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return a random box (K,) of each cell, for objects (K, ...)."""
    device = "cpu" if generator is None else generator.device
    drawn = torch.randint(num, (len(true),), generator=generator, device=device)
    return drawn.to(true.device, non_blocking=True)


def _fit(boxes: Tensor, true: Tensor, corner: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return IoU and root mean squared error (K, num) of the boxes of some cells.

    Positions are compared inside the cell, whose corner Darknet leaves out of both boxes.

    Args:
        boxes: predictions (K, num, 4): x, y in cells from the corner, w, h in images.
        true: ground truth (K, 4), cxcywh in fractions of the image.
        corner: column and row (K, 2) of each cell.
        side: number of cells along a side.
    """
    wanted = torch.cat((true[:, :2] - corner / side, true[:, 2:]), dim=1)[:, None]
    predicted = torch.cat((boxes[..., :2] / side, boxes[..., 2:]), dim=-1)
    error = (predicted - wanted).square().sum(dim=-1).sqrt()
    return iou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(wanted)), error


def _must_fit(head: DetectionHead, size: int) -> None:
    """Raise ValueError if a vector's length does not fit cells, boxes and classes."""
    if head.coords != 4:
        raise ValueError(f"coords={head.coords}: boxes have 4 coordinates: coords=4")
    expected = head.side**2 * (5 * head.num + head.classes)
    if size != expected:
        raise ValueError(
            f"{head.side} x {head.side} cells with {head.num} boxes of 4 coordinates and"
            f" {head.classes} classes need {expected} values before them, not {size}"
        )
