"""What a head's entries mean: its boxes, objectness and scores."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from darknet_torch.layers.base import Layer
from darknet_torch.parsing.options import FileName, option

__all__ = ["BoxCoder", "Cells"]


class Cells(NamedTuple):
    """The cell and the anchor of each box, and the sizes that they refer to.

    `x`, `y` and `anchor` are tensors (...): column, row and index of the anchor, all of them whole
    numbers. `anchor` is int64; `x` and `y` are int64 or of the type of the entries.
    """

    x: Tensor
    y: Tensor
    anchor: Tensor
    grid: tuple[int, int]
    """Number of cells (vertical, horizontal)."""
    image: tuple[int, int]
    """Network input (height, width), in pixels."""


@dataclass(frozen=True, kw_only=True)
class BoxCoder(Layer, ABC):
    """What the entries of a raw output mean: boxes, objectness and scores.

    Args:
        classes: number of classes.
        anchors: widths and heights, one after the other.
        tree: file of the word tree, where the section has one.
        map: file of the class map, where the section has one.
    """

    classes: int = option(1)
    anchors: tuple[float, ...] = ()
    tree: FileName | None = None
    map: FileName | None = None

    @abstractmethod
    def maps(self, raw: Tensor) -> Tensor:
        """View the raw output as anchors with entries.

        Args:
            raw: raw output (B, c, H, W) of the layer before the head, or (B, n) for vectors.

        Returns:
            (B, A, E, H, W): A anchors in H x W cells, E entries each.
        """

    @abstractmethod
    def boxes(self, entries: Tensor, cells: Cells) -> Tensor:
        """Return the boxes of some entries.

        Args:
            entries: raw entries (..., E).
            cells: the cell and the anchor of each.

        Returns:
            (..., 4) cxcywh in fractions of the network's input.
        """

    def objectness_entry(self) -> int:
        """Return the index of the objectness among an anchor's entries."""
        return 4

    def objectness(self, entry: Tensor) -> Tensor:
        """Return the objectness (...) in 0..1.

        Args:
            entry: its raw entry (...).
        """
        return torch.sigmoid(entry)

    def reported(self, objectness: Tensor, threshold: float) -> Tensor:
        """Return the objectness (...) that detections carry.

        Args:
            objectness: (...), what `objectness` returned.
            threshold: lowest score of a detection.
        """
        return objectness

    @abstractmethod
    def scores(self, entries: Tensor, objectness: Tensor) -> Tensor:
        """Return the probability of each class, objectness included.

        Args:
            entries: raw entries (..., E).
            objectness: (...), what `objectness` returned.

        Returns:
            (..., C).
        """

    def tree_scores(
        self, entries: Tensor, objectness: Tensor, hier_threshold: float, *, use_map: bool = False
    ) -> Tensor:
        """Return the scores (..., C) with word tree and class map applied, where there are any.

        Args:
            entries: raw entries (..., E).
            objectness: (...), what `objectness` returned.
            hier_threshold: where to stop on the way down the word tree.
            use_map: score the classes of the class map in place of the tree's.
        """
        return self.scores(entries, objectness)

    def keeps_score(self, scores: Tensor, threshold: float, *, use_map: bool = False) -> Tensor:
        """Return which scores (..., C) count, as bool; the others become 0.

        Args:
            scores: (..., C), of boxes for which `may_count` is True.
            threshold: lowest score of a detection.
            use_map: as in `tree_scores`.
        """
        return scores > threshold

    def may_count(self, objectness: Tensor, threshold: float) -> Tensor:
        """Return which boxes can have a score above the threshold, as bool (...).

        Args:
            objectness: (...), what `objectness` returned.
            threshold: lowest score of a detection.
        """
        return objectness > threshold
