"""[detection]: the head of YOLOv1, which reads one vector."""

from typing import ClassVar

import torch
from torch import Tensor

from darknet_torch.heads.base import Cells, Head
from darknet_torch.layers.base import Shape
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.options import option


@layer("detection")
class DetectionHead(Head):
    """[detection]: classes of each cell, then confidences, then boxes of each cell.

    Box entries are used as they come: x, y inside the cell, w, h in fractions of the image (their
    roots with `sqrt`). Darknet relates them to the image itself, so that its `yolo` command
    stretches images instead of letterboxing them.
    """

    stretches_images: ClassVar[bool] = True

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
        expected = self.side**2 * (5 * self.num + self.classes)
        if inputs[0].size != expected or self.coords != 4:
            raise ValueError(
                f"{self.side} x {self.side} cells with {self.num} boxes of 4 coordinates and"
                f" {self.classes} classes need {expected} values before them, not {inputs[0].size}"
            )
        return Shape(inputs[0].size)

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
        x, cells, n = raw.flatten(1), self.side**2, self.num
        classes = self._class_scores(x)[:, :, None].expand(-1, -1, n, -1)
        first = cells * self.classes
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
