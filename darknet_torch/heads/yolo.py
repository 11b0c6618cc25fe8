"""[yolo]: the head of YOLOv3, v4 and v7."""

import torch
from torch import Tensor

from darknet_torch.heads.base import Cells, constant, kept
from darknet_torch.heads.yolo_loss import YoloLoss
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import option


@layer("yolo")
class Yolo(YoloLoss):
    """[yolo]: entries x, y, w, h, objectness, classes for each anchor.

    With `new_coords` the convolution before has squashed everything, and sizes are (2 v) ** 2.
    """

    # tracking
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

    def all_boxes(self, maps: Tensor, image: tuple[int, int]) -> Tensor:
        """Return the box of every anchor of every cell, (B, A, H, W, 4); see `AnchorHead`.

        They are those of `boxes`, in fewer operations; each component is by itself in memory.
        """
        height, width = maps.shape[3:]
        xy, wh = maps[:, :, :2], maps[:, :, 2:4]
        xy, wh = (xy, wh.square()) if self.new_coords else (torch.sigmoid(xy), wh.exp())
        start = kept(_start, height, width, self.scale_x_y, maps.dtype, like=maps)
        share = constant([[[self.scale_x_y / n]] for n in (width, height)], maps)  # (2, 1, 1)
        times = 4 if self.new_coords else 1
        sides = [
            [[[times * n / m]] for n, m in zip(p, image[::-1], strict=True)] for p in self.pairs()
        ]
        parts = torch.addcmul(start, xy, share), wh * constant(sides, maps)
        return torch.cat([each.movedim(2, 0) for each in parts]).movedim(0, -1)

    def objectness(self, entry: Tensor) -> Tensor:
        """Return the objectness from its raw entry."""
        return self.squashed(entry)

    def scores(self, entries: Tensor, objectness: Tensor) -> Tensor:
        """Return objectness times class, (..., C)."""
        classes = entries[..., self.ENTRIES :]
        return objectness[..., None] * (classes if self.new_coords else torch.sigmoid(classes))


def _start(height: int, width: int, stretch: float, dtype: torch.dtype) -> Tensor:
    """Return x, y (2, H, W) of a prediction of 0 in each cell, in fractions of the input."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    size = torch.tensor((width, height), dtype=torch.float64)[:, None, None]
    return ((torch.stack((x, y)) - 0.5 * (stretch - 1)) / size).to(dtype)
