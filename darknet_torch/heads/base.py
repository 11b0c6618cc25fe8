"""What a head is: a layer whose map means boxes.

A head sees its input as `maps` (B, A, E, H, W): A anchors, E entries each. Three small methods say
what the entries mean: `boxes`, `objectness`, `scores`. From them come `decode` (every box, dense)
and `select` (only boxes that a threshold leaves, sparse and fast).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from darknet_torch.heads.boxes import Candidates, Predictions
from darknet_torch.layers.base import Layer
from darknet_torch.layers.word_tree import Tree, read_map, read_tree
from darknet_torch.parsing.options import FileName, option

__all__ = ["Head", "Place", "anchor_pairs"]


class Place(NamedTuple):
    """Where boxes stand: cell and anchor of each, (...) int64, and the sizes they refer to."""

    x: Tensor
    y: Tensor
    anchor: Tensor
    grid: tuple[int, int]
    """Cells (vertical, horizontal)."""
    image: tuple[int, int]
    """Network input (height, width) in pixels."""


@dataclass(frozen=True, kw_only=True)
class Head(Layer, ABC):
    """Base of the heads; subclasses are layers with an `activate` of their own.

    `tree`, `map`: word tree and class map where the section has them.
    """

    classes: int = option(1)
    anchor_major: ClassVar[bool] = False
    """Boxes are listed anchor by anchor, not cell by cell."""
    tree: FileName | None = None
    map: FileName | None = None

    @abstractmethod
    def maps(self, raw: Tensor) -> Tensor:
        """View the raw map as (B, A, E, H, W)."""

    @abstractmethod
    def boxes(self, entries: Tensor, place: Place) -> Tensor:
        """Return cxcywh (..., 4) in fractions of the network input from raw entries (..., E)."""

    def objectness_entry(self) -> int:
        """Return the number of the entry that is the objectness."""
        return 4

    def objectness(self, entry: Tensor) -> Tensor:
        """Return the objectness from its raw entry (...)."""
        return torch.sigmoid(entry)

    def reported(self, objectness: Tensor, threshold: float) -> Tensor:
        """Return the objectness that a detection carries."""
        return objectness

    @abstractmethod
    def scores(self, entries: Tensor, objectness: Tensor) -> Tensor:
        """Return the probability of each class (..., C) from raw entries (..., E)."""

    def tree_scores(
        self, entries: Tensor, objectness: Tensor, hier_threshold: float, *, use_map: bool = False
    ) -> Tensor:
        """Return the scores as a word tree and a class map change them, where there are any."""
        return self.scores(entries, objectness)

    def keeps_score(self, scores: Tensor, threshold: float, *, use_map: bool = False) -> Tensor:
        """Say which probabilities of boxes above the threshold count."""
        return scores > threshold

    def may_count(self, objectness: Tensor, threshold: float) -> Tensor:
        """Say which boxes can have a probability that counts."""
        return objectness > threshold

    @cached_property
    def words(self) -> Tree | None:
        """The word tree, if the section names one."""
        return None if self.tree is None else read_tree(self.tree.resolve())

    @cached_property
    def class_map(self) -> tuple[int, ...] | None:
        """The class map, if the section names one."""
        return None if self.map is None else read_map(self.map.resolve(), self.classes)

    def decode(
        self, raw: Tensor, image_shape: tuple[int, int], *, hier_threshold: float = 0.5
    ) -> Predictions:
        """Decode every box of a raw map; `image_shape` is (height, width) of the network's input.

        The boxes stand in Darknet's order. No thresholds but the tree's, so this can be exported.
        """
        maps = self.maps(raw)
        ordered = maps.permute(0, 1, 3, 4, 2) if self.anchor_major else maps.permute(0, 3, 4, 1, 2)
        place = self._all_places(maps, image_shape)
        entries = ordered.flatten(1, 3)
        objectness = self.objectness(entries[..., self.objectness_entry()])
        scores = self.tree_scores(entries, objectness, hier_threshold)
        return Predictions(self.boxes(entries, place), objectness, scores)

    def _all_places(self, maps: Tensor, image: tuple[int, int]) -> Place:
        anchors, height, width = maps.shape[1], maps.shape[3], maps.shape[4]
        sizes = (anchors, height, width) if self.anchor_major else (height, width, anchors)
        axes = [torch.arange(size, device=maps.device) for size in sizes]
        flat = [grid.flatten() for grid in torch.meshgrid(*axes, indexing="ij")]
        a, y, x = flat if self.anchor_major else (flat[2], flat[0], flat[1])
        return Place(x, y, a, (height, width), image)

    def select(
        self,
        raw: Tensor,
        image_shape: tuple[int, int],
        threshold: float,
        *,
        hier_threshold: float = 0.5,
        use_map: bool = False,
    ) -> Candidates:
        """Decode only the boxes above the threshold, as Darknet's detector lists them."""
        maps = self.maps(raw)
        objectness = self.objectness(maps[:, :, self.objectness_entry()])  # (B, A, H, W)
        if not self.anchor_major:
            objectness = objectness.permute(0, 2, 3, 1)
        picture, *rest = self.may_count(objectness, threshold).nonzero(as_tuple=True)
        a, y, x = rest if self.anchor_major else (rest[2], rest[0], rest[1])
        entries, objectness = maps[picture, a, :, y, x], objectness[picture, *rest]
        place = Place(x, y, a, (maps.shape[3], maps.shape[4]), image_shape)
        scores = self.tree_scores(entries, objectness, hier_threshold, use_map=use_map)
        scores = scores * self.keeps_score(scores, threshold, use_map=use_map)
        boxes = self.boxes(entries, place)
        return Candidates(picture, boxes, self.reported(objectness, threshold), scores)


def anchor_pairs(anchors: tuple[float, ...], count: int) -> tuple[tuple[float, float], ...]:
    """Return (width, height) of `count` anchors; what the list lacks is one half, as in Darknet."""
    padded = (*anchors, *[0.5] * (2 * count))[: 2 * count]
    return tuple(zip(padded[0::2], padded[1::2], strict=True))
