"""[yolo]: the head of YOLOv3, v4 and v7; [Gaussian_yolo]: the same with uncertainties."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from darknet_torch.heads.base import (
    ANCHORS_LACKING,
    Cells,
    Head,
    Sizes,
    anchor_numbers,
    anchor_pairs,
)
from darknet_torch.heads.nms import NmsKind
from darknet_torch.layers.base import Shape
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import FileName, option

IOU_KINDS = Literal["mse", "iou", "giou", "diou", "ciou"]


@dataclass(frozen=True, kw_only=True)
class AnchorHead(Head):
    """The options that [yolo] and [Gaussian_yolo] share, and their geometry.

    Anchors are in pixels of the network's input; `mask` lists those of this head.
    """

    classes: int = option(20, check=lambda n: n > 0, expected="at least 1")
    num: int = option(1, check=lambda n: 0 < n <= 4096, expected="from 1 to 4096")
    mask: tuple[int, ...] = option(lambda o: tuple(range(o.num)), comment_ends=True)
    anchors: tuple[float, ...] = option(
        (), comment_ends=True, count=anchor_numbers, lacking=ANCHORS_LACKING
    )
    scale_x_y: float = option(1.0, only=ALEXEYAB)
    nms_kind: str = option("default", only=ALEXEYAB)
    beta_nms: float = option(0.6, only=ALEXEYAB)
    map: FileName | None = option(None)

    # training
    max: int = option(90, in_fork={ALEXEYAB: 200})
    jitter: float = option(0.2)
    resize: float = option(1.0, only=ALEXEYAB)
    ignore_thresh: float = option(0.5)
    truth_thresh: float = option(1.0)
    random: float = option(0.0)
    iou_loss: IOU_KINDS = option("mse", only=ALEXEYAB)
    iou_normalizer: float = option(0.75, only=ALEXEYAB)
    obj_normalizer: float = option(1.0, only=ALEXEYAB)
    cls_normalizer: float = option(1.0, only=ALEXEYAB)
    delta_normalizer: float = option(1.0, only=ALEXEYAB)
    iou_thresh_kind: Literal["iou", "giou", "diou", "ciou"] = option("iou", only=ALEXEYAB)
    iou_thresh: float = option(1.0, only=ALEXEYAB)
    label_smooth_eps: float = option(0.0, only=ALEXEYAB)
    objectness_smooth: bool = option(False, only=ALEXEYAB)
    max_delta: float = option(3.4e38, only=ALEXEYAB)
    counters_per_class: tuple[int, ...] = option(
        (),
        only=ALEXEYAB,
        comment_ends=True,
        count=lambda o: o.classes if o.counters_per_class else 0,
        lacking="one for each class",
    )

    ENTRIES: ClassVar[int] = 5
    """Number of entries of an anchor besides the classes."""

    def pairs(self) -> tuple[tuple[float, float], ...]:
        """Return (width, height) of this head's anchors, in pixels of the network's input."""
        every = anchor_pairs(self.anchors, self._anchor_count)
        return tuple(every[number] for number in self.mask)

    def anchor_sizes(self, grid: tuple[int, int], image: tuple[int, int]) -> Sizes:
        """Return (width, height) of all anchors, those of other heads too, in pixels."""
        return anchor_pairs(self.anchors, self._anchor_count)

    @property
    def _anchor_count(self) -> int:
        """Anchors that `mask` can name: published files list more than `num` of them."""
        return max(self.num, len(self.anchors) // 2)

    def nms(self) -> tuple[NmsKind, float]:
        """Return the kind of NMS that the section requests, and the exponent of `diounms`."""
        known: dict[str, NmsKind] = {"greedynms": "greedynms", "diounms": "diounms"}
        return known.get(self.nms_kind, "default"), self.beta_nms

    def shape(self, *inputs: Shape) -> Shape:
        """Return the map's shape; ValueError if its channels do not fit anchors and classes."""
        c, _, _ = inputs[0].map()
        if not all(0 <= number < self._anchor_count for number in self.mask):
            raise ValueError(
                f"mask={','.join(map(str, self.mask))}: there are {self._anchor_count} anchors"
            )
        expected = len(self.mask) * (self.ENTRIES + self.classes)
        if c != expected:
            raise ValueError(
                f"{len(self.mask)} anchors and {self.classes} classes need {expected} filters"
                f" before them, not {c}"
            )
        return inputs[0]

    def maps(self, raw: Tensor) -> Tensor:
        """View the raw map as (B, A, E, H, W)."""
        return torch.unflatten(raw, 1, (len(self.mask), self.ENTRIES + self.classes))

    def squash_xy(self, xy: Tensor) -> Tensor:
        """Return the offsets inside the cell from their raw values."""
        return self.stretch_xy(torch.sigmoid(xy))

    def stretch_xy(self, xy: Tensor) -> Tensor:
        """Widen 0..1 around its middle by `scale_x_y`."""
        if self.scale_x_y == 1.0:
            return xy
        return xy * self.scale_x_y - 0.5 * (self.scale_x_y - 1)

    def to_boxes(self, xy: Tensor, wh: Tensor, cells: Cells) -> Tensor:
        """Return cxcywh (..., 4) in fractions of the network's input.

        Args:
            xy: offsets (..., 2) inside the cell.
            wh: sizes (..., 2) in anchors.
            cells: the cell and the anchor of each box.
        """
        height, width = cells.grid
        x = (xy[..., 0] + cells.x) / width
        y = (xy[..., 1] + cells.y) / height
        anchor = torch.tensor(self.pairs(), dtype=wh.dtype, device=wh.device)[cells.anchor]
        w = wh[..., 0] * anchor[..., 0] / cells.image[1]
        h = wh[..., 1] * anchor[..., 1] / cells.image[0]
        return torch.stack((x, y, w, h), dim=-1)


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

    def objectness(self, entry: Tensor) -> Tensor:
        """Return the objectness from its raw entry."""
        return entry if self.new_coords else torch.sigmoid(entry)

    def scores(self, entries: Tensor, objectness: Tensor) -> Tensor:
        """Return objectness times class, (..., C)."""
        classes = entries[..., self.ENTRIES :]
        return objectness[..., None] * (classes if self.new_coords else torch.sigmoid(classes))


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
        means = entries[..., self.MEANS]
        boxes = self.to_boxes(self.squash_xy(means[..., :2]), means[..., 2:].exp(), cells)
        shift = {"center": 0.0, "left_top": 0.5, "right_bottom": -0.5}[self.yolo_point]
        return torch.cat((boxes[..., :2] + shift * boxes[..., 2:], boxes[..., 2:]), dim=-1)

    def objectness_entry(self) -> int:
        """Return the index of the objectness among an anchor's entries."""
        return 8

    def scores(self, entries: Tensor, objectness: Tensor) -> Tensor:
        """Return objectness times class times certainty, (..., C)."""
        uncertainty = torch.sigmoid(entries[..., self.SIGMAS]).mean(dim=-1)
        classes = torch.sigmoid(entries[..., self.ENTRIES :])
        return (objectness * (1 - uncertainty))[..., None] * classes
