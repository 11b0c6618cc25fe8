"""[region]: its options, and what its entries mean."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from darknet_torch.heads.base import (
    ANCHORS_LACKING,
    Cells,
    Head,
    Sizes,
    anchor_numbers,
    anchor_pairs,
    constant,
)
from darknet_torch.layers.base import Shape
from darknet_torch.parsing.dialect import ALEXEYAB, PJREDDIE
from darknet_torch.parsing.options import FileName, option

__all__ = ["RegionDecoder"]

_MOST_CELLS = 100


def _in_pixels(head: Any) -> str:
    """Return what is doubtful about anchors that are pixels, as [yolo] has them."""
    if (most := max(head.anchors, default=0)) <= _MOST_CELLS:
        return ""
    return f"anchors are in cells (32 pixels, mostly), and one has {most:g} of them"


@dataclass(frozen=True, kw_only=True)
class RegionDecoder(Head):
    """The options of [region], whose anchors are in cells, and the decoding of its entries."""

    coords: int = option(4, check=lambda n: n >= 4, expected="at least 4")
    classes: int = option(20, check=lambda n: n > 0, expected="at least 1")
    num: int = option(1, check=lambda n: 0 < n <= 4096, expected="from 1 to 4096")
    anchors: tuple[float, ...] = option(
        (), count=anchor_numbers, lacking=ANCHORS_LACKING, doubt=_in_pixels
    )
    softmax: bool = option(False)
    background: bool = option(False, only=PJREDDIE)
    tree: FileName | None = option(None)
    map: FileName | None = option(None)

    # training
    log: bool = option(False)
    sqrt: bool = option(False)
    max: int = option(30, in_fork={ALEXEYAB: 200})
    jitter: float = option(0.2)
    resize: float = option(1.0, only=ALEXEYAB)
    rescore: bool = option(False)
    thresh: float = option(0.5)
    classfix: int = option(0)
    absolute: bool = option(False)
    random: float = option(0.0)
    focal_loss: bool = option(False, only=ALEXEYAB)
    coord_scale: float = option(1.0)
    object_scale: float = option(1.0)
    noobject_scale: float = option(1.0)
    mask_scale: float = option(1.0)
    class_scale: float = option(1.0)
    bias_match: bool = option(False)

    @property
    def anchor_major(self) -> bool:  # type: ignore[override]
        """Boxes are listed anchor by anchor where the output is kept by anchor."""
        return not self.dialect.region_by_cell

    @property
    def entries(self) -> int:
        """Number of entries of an anchor."""
        return self.coords + 1 + self.classes

    def objectness_entry(self) -> int:
        """Return the index of the objectness: always 4 in forks that ignore `coords`."""
        return 4 if self.dialect.region_by_cell else self.coords

    def shape(self, *inputs: Shape) -> Shape:
        """Return the map's shape; ValueError if its channels do not fit anchors and classes."""
        c, _, _ = inputs[0].map()
        expected = self.num * self.entries
        if c != expected:
            raise ValueError(
                f"{self.num} anchors, {self.coords} coordinates and {self.classes} classes need"
                f" {expected} filters before them, not {c}"
            )
        return inputs[0]

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the function; the tree is read now, so that a missing file is an error now."""
        if (tree := self.word_tree) is not None and len(tree) != self.classes:
            raise self.section.error(f"tree= has {len(tree)} classes, not classes={self.classes}")
        return super().build(*shapes)

    def anchor_sizes(self, grid: tuple[int, int], image: tuple[int, int]) -> Sizes:
        """Return (width, height) of the anchors in pixels."""
        x, y = image[1] / grid[1], image[0] / grid[0]
        return tuple((w * x, h * y) for w, h in anchor_pairs(self.anchors, self.num))

    def maps(self, raw: Tensor) -> Tensor:
        """View the raw map as (B, A, E, H, W)."""
        return torch.unflatten(raw, 1, (self.num, self.entries))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return Darknet's output: (B, c, h, w), or the same floats by cell, anchor and entry."""
        maps = self.maps(inputs[0]).movedim(2, -1)  # (B, A, H, W, E)
        number, classes = self.objectness_entry(), self.class_entries()
        by_cell = self.dialect.region_by_cell
        xy = maps[..., :2] if by_cell else torch.sigmoid(maps[..., :2])
        parts = [xy, maps[..., 2:number]]
        if classes.start > number:
            objectness = maps[..., number : number + 1]
            parts.append(objectness if self.background else torch.sigmoid(objectness))
        parts += [self.probabilities(maps[..., classes]), maps[..., classes.stop :]]
        out = torch.cat(parts, dim=-1)
        out = out.permute(0, 2, 3, 1, 4) if by_cell else out.movedim(-1, 2)
        return out.reshape(inputs[0].shape)

    def class_entries(self) -> slice:
        """Return the entries of the classes; softmax over a background has one more."""
        first = self.objectness_entry() + 1
        with_background = self.background and self.softmax and self.tree is None
        return slice(first - with_background, first + self.classes)

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return probabilities from raw class scores (..., n)."""
        if (tree := self.word_tree) is not None:
            return tree.softmax(scores)
        if self.softmax:
            return torch.softmax(scores, dim=-1)
        return torch.sigmoid(scores) if self.dialect.region_logistic_classes else scores

    def boxes(self, entries: Tensor, cells: Cells) -> Tensor:
        """Return cxcywh (..., 4) in fractions of the network input from raw entries (..., E)."""
        height, width = cells.grid
        xy, wh = torch.sigmoid(entries[..., :2]), entries[..., 2:4].exp()
        pairs = constant(anchor_pairs(self.anchors, self.num), wh, torch.float32)
        anchor = pairs.to(wh.dtype)[cells.anchor]
        x, y = (xy[..., 0] + cells.x) / width, (xy[..., 1] + cells.y) / height
        w, h = wh[..., 0] * anchor[..., 0] / width, wh[..., 1] * anchor[..., 1] / height
        return torch.stack((x, y, w, h), dim=-1)

    def objectness(self, entry: Tensor) -> Tensor:
        """Return the objectness; a head with background classes has none, it counts as 1."""
        return torch.ones_like(entry) if self.background else torch.sigmoid(entry)

    def reported(self, objectness: Tensor, threshold: float) -> Tensor:
        """Return the objectness that detections carry: 1 in forks that report no other."""
        return torch.ones_like(objectness) if self.dialect.region_by_cell else objectness

    def may_count(self, objectness: Tensor, threshold: float) -> Tensor:
        """Return which boxes can have a score that counts: all, where classes may exceed 1."""
        bounded = self.softmax or self.tree is not None or self.dialect.region_logistic_classes
        return objectness > threshold if bounded else objectness > -1

    def scores(self, entries: Tensor, objectness: Tensor) -> Tensor:
        """Return objectness times class, (..., C)."""
        classes = self.probabilities(entries[..., self.class_entries()])
        return objectness[..., None] * classes[..., -self.classes :]

    def tree_scores(
        self, entries: Tensor, objectness: Tensor, hier_threshold: float, *, use_map: bool = False
    ) -> Tensor:
        """Return the score of the one class that the word tree yields, or of mapped classes."""
        if (tree := self.word_tree) is None:
            return self.scores(entries, objectness)
        classes = tree.absolute(self.probabilities(entries[..., self.class_entries()]))
        if use_map and self.class_map is not None:
            return objectness[..., None] * classes[..., list(self.class_map)]
        if not self.dialect.region_tree_walk:
            return _last_above_half(classes)
        reached = tree.walk(classes, hier_threshold)[..., None]
        numbers = torch.arange(classes.shape[-1], device=classes.device)
        return (numbers == reached) * objectness[..., None]

    def keeps_score(self, scores: Tensor, threshold: float, *, use_map: bool = False) -> Tensor:
        """Return which scores count; the one class of a word tree needs no threshold."""
        one_class = self.tree is not None and not (use_map and self.map is not None)
        return scores > (0.0 if one_class else threshold)


def _last_above_half(p: Tensor) -> Tensor:
    """Keep, of the probabilities (..., C), the last that is above one half."""
    above = p > 0.5
    number = torch.arange(1, p.shape[-1] + 1, device=p.device)
    last = (above * number).amax(dim=-1, keepdim=True)
    return torch.where(above & (number == last), p, torch.zeros_like(p))
