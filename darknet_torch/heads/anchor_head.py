"""What [yolo] and [Gaussian_yolo] share: options, anchors in pixels, geometry of the boxes."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from darknet_torch.heads.base import (
    ANCHORS_LACKING,
    Cells,
    Head,
    Sizes,
    anchor_numbers,
    anchor_pairs,
    constant,
)
from darknet_torch.heads.box_gradient import IouKind
from darknet_torch.heads.nms import NmsKind
from darknet_torch.heads.targets import all_boxes
from darknet_torch.layers.base import Shape
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import FileName, option

__all__ = ["AnchorHead"]


def _tiny(head: Any) -> str:
    """Return what is doubtful about anchors in fractions of the image, or in cells."""
    if max(head.anchors, default=2) >= 2:
        return ""
    return "anchors are in pixels of the network's input, and all of these are below two"


@dataclass(frozen=True, kw_only=True)
class AnchorHead(Head):
    """The options that [yolo] and [Gaussian_yolo] share, and their geometry.

    Anchors are in pixels of the network's input; `mask` lists those of this head.
    """

    classes: int = option(20, check=lambda n: n > 0, expected="at least 1")
    num: int = option(1, check=lambda n: 0 < n <= 4096, expected="from 1 to 4096")
    mask: tuple[int, ...] = option(lambda o: tuple(range(o.num)), comment_ends=True)
    anchors: tuple[float, ...] = option(
        (),
        comment_ends=True,
        count=anchor_numbers,
        lacking=ANCHORS_LACKING,
        doubt=_tiny,
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
    iou_loss: IouKind = option("mse", only=ALEXEYAB)
    iou_normalizer: float = option(0.75, only=ALEXEYAB, absent=1.0)
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

    def lacks_anchors(self) -> bool:
        """Return whether the section names no anchor."""
        return not self.anchors

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
        anchor = constant(self.pairs(), wh)[cells.anchor]
        w = wh[..., 0] * anchor[..., 0] / cells.image[1]
        h = wh[..., 1] * anchor[..., 1] / cells.image[0]
        return torch.stack((x, y, w, h), dim=-1)

    def squashed(self, entries: Tensor) -> Tensor:
        """Return objectness or probabilities from their raw entries."""
        return torch.sigmoid(entries)

    def all_boxes(self, maps: Tensor, image: tuple[int, int]) -> Tensor:
        """Return the box of every anchor of every cell, (B, A, H, W, 4) cxcywh.

        Args:
            maps: raw output (B, A, E, H, W).
            image: height and width of the network's input in pixels.
        """
        return all_boxes(self, maps, image)

    def point_of(self, boxes: Tensor) -> Tensor:
        """Return the point (..., 2) of cxcywh boxes (..., 4) whose cell predicts them."""
        return boxes[..., :2]

    def multipliers(self, like: Tensor) -> Tensor:
        """Return the weight of each class, rarer ones more, and 1 for no class: (C + 1,).

        Args:
            like: a tensor of the device and the dtype.
        """
        if not self.counters_per_class:
            return like.new_ones(self.classes + 1)
        counters = torch.tensor(self.counters_per_class[: self.classes], dtype=like.dtype)
        counters = counters.clamp_min(1)
        weights = (counters.max() / counters).clamp_max(self.max_delta)
        return constant([*weights.tolist(), *[1.0] * (self.classes + 1 - len(weights))], like)
