"""The base class of heads: layers that turn a raw map into boxes.

A head views its input as `maps` (B, A, E, H, W): A anchors with E entries each. Three small methods
compute boxes from the entries: `boxes`, `objectness`, `scores`. `decode` applies them to every
anchor of every cell (dense), `select` only where a threshold is passed (sparse and fast).
"""

from abc import ABC
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.heads.box_coder import BoxCoder, Cells
from darknet_torch.heads.boxes import Candidates, Predictions
from darknet_torch.heads.nms import NmsKind
from darknet_torch.layers.traced import is_traced
from darknet_torch.layers.word_tree import Tree, read_map, read_tree
from darknet_torch.parsing.options import FileName

__all__ = [
    "ANCHORS_LACKING",
    "BoxCoder",
    "Cells",
    "Head",
    "Sizes",
    "anchor_numbers",
    "anchor_pairs",
    "constant",
    "kept",
]


Sizes = tuple[tuple[float, float], ...]
"""Width and height of some anchors."""


@dataclass(frozen=True, kw_only=True)
class Head(BoxCoder, ABC):
    """Base class of all heads: `decode` and `select` follow from what the entries mean.

    A subclass defines `maps`, `boxes` and `scores`, and overrides what else differs.
    """

    # training: most objects of an image, and the augmentation
    max: int = 90
    jitter: float = 0.2
    resize: float = 1.0
    random: float = 0.0

    # facts, see `Layer`
    anchor_major: ClassVar[bool] = False
    """Boxes are listed anchor by anchor, not cell by cell."""
    stretches_images: ClassVar[bool] = False
    """Boxes refer to the image itself, which is stretched to the input, never letterboxed."""
    heeds_max: ClassVar[bool] = True
    """Whether `max` limits the objects of an image."""

    def nms(self) -> tuple[NmsKind, float]:
        """Return the kind of NMS that the section requests, and the exponent of `diounms`."""
        return "default", 0.6

    def anchor_sizes(self, grid: tuple[int, int], image: tuple[int, int]) -> Sizes:
        """Return (width, height) of all anchors that ground truth is matched with, in pixels.

        Args:
            grid: number of cells (vertical, horizontal).
            image: network input (height, width), in pixels.
        """
        return ()

    def lacks_anchors(self) -> bool:
        """Return whether boxes are matched with anchors, and the section names none."""
        return False

    @property
    def class_file(self) -> str | None:
        """A word tree or a class map, if the section names one."""
        if self.tree is not None:
            return "word tree"
        return None if self.map is None else "class map"

    @cached_property
    def word_tree(self) -> Tree | None:
        """The word tree, if the section names one."""
        return None if self.tree is None else read_tree(self.tree.resolve())

    @cached_property
    def class_map(self) -> tuple[int, ...] | None:
        """The class map, if the section names one."""
        return None if self.map is None else read_map(self.map.resolve(), self.classes)

    def with_class_map(self, path: str | PathLike[str], folders: tuple[Path, ...]) -> Self:
        """Return the head with another class map.

        Args:
            path: file of the class map.
            folders: where the file is looked for, besides the cfg's own folder.

        Raises:
            UsageError: the head has no word tree.
        """
        if self.tree is None:
            raise UsageError(f"use_map={path}: the network has no word tree to map classes of")
        return replace(self, map=FileName(fspath(path), "map", self.section, folders))

    def decode(
        self, raw: Tensor, image_shape: tuple[int, int], *, hier_threshold: float = 0.5
    ) -> Predictions:
        """Decode every box of a raw output, in Darknet's order, so that it can be exported.

        No threshold applies but that of the word tree.

        Args:
            raw: raw output (B, c, H, W) of the layer before the head, or (B, n) for vectors.
            image_shape: (height, width) of the network's input, in pixels.
            hier_threshold: where to stop on the way down the word tree.

        Returns:
            Boxes (B, N, 4), objectness (B, N) and scores (B, N, C); see `Predictions`.
        """
        maps = self.maps(raw)
        ordered = maps.permute(0, 1, 3, 4, 2) if self.anchor_major else maps.permute(0, 3, 4, 1, 2)
        cells = self._all_cells(maps, image_shape)
        entries = ordered.flatten(1, 3)
        objectness = self.objectness(entries[..., self.objectness_entry()])
        scores = self.tree_scores(entries, objectness, hier_threshold)
        return Predictions(self.boxes(entries, cells), objectness, scores)

    def _all_cells(self, maps: Tensor, image: tuple[int, int]) -> Cells:
        anchors, height, width = maps.shape[1], maps.shape[3], maps.shape[4]
        sizes = (anchors, height, width) if self.anchor_major else (height, width, anchors)
        axes = torch.meshgrid([torch.arange(n, device=maps.device) for n in sizes], indexing="ij")
        flat = [grid.flatten() for grid in axes]
        a, y, x = flat if self.anchor_major else (flat[2], flat[0], flat[1])
        return Cells(x.to(maps.dtype), y.to(maps.dtype), a, (height, width), image)

    def select(
        self,
        raw: Tensor,
        image_shape: tuple[int, int],
        threshold: float,
        *,
        hier_threshold: float = 0.5,
        use_map: bool = False,
        count: int | None = None,
    ) -> Candidates:
        """Decode only the boxes whose objectness passes the threshold, in Darknet's order.

        Args:
            raw: raw output (B, c, H, W) of the layer before the head, or (B, n) for vectors.
            image_shape: (height, width) of the network's input, in pixels.
            threshold: lowest score of a detection.
            hier_threshold: where to stop on the way down the word tree.
            use_map: score the classes of the class map in place of the tree's.
            count: number of boxes that pass (see `passing`), where it is known: a graphics card
                then need not be waited for.

        Returns:
            M boxes of all images, see `Candidates`; scores that do not count are 0.
        """
        maps = self.maps(raw)
        objectness = self._all_objectness(maps)
        passing = self.may_count(objectness, threshold)
        indices = passing.nonzero() if count is None else passing.nonzero_static(size=count)
        image, *rest = indices.unbind(1)
        a, y, x = rest if self.anchor_major else (rest[2], rest[0], rest[1])
        entries, objectness = maps[image, a, :, y, x], objectness[image, *rest]
        cells = Cells(x, y, a, (maps.shape[3], maps.shape[4]), image_shape)
        scores = self.tree_scores(entries, objectness, hier_threshold, use_map=use_map)
        scores = scores * self.keeps_score(scores, threshold, use_map=use_map)
        boxes = self.boxes(entries, cells)
        return Candidates(image, boxes, self.reported(objectness, threshold), scores)

    def passing(self, raw: Tensor, threshold: float) -> Tensor:
        """Return which boxes `select` decodes, as bool (B, ...).

        Args:
            raw: raw output (B, c, H, W) of the layer before the head, or (B, n) for vectors.
            threshold: lowest score of a detection.
        """
        return self.may_count(self._all_objectness(self.maps(raw)), threshold)

    def _all_objectness(self, maps: Tensor) -> Tensor:
        """Return the objectness in the order of the boxes: (B, A, H, W) or (B, H, W, A)."""
        objectness = self.objectness(maps[:, :, self.objectness_entry()])
        return objectness if self.anchor_major else objectness.permute(0, 2, 3, 1)


ANCHORS_LACKING = "two for each of num anchors; Darknet takes 0.5 for the others"


def anchor_numbers(head: Any) -> int:
    """Return how many numbers the list of anchors should have."""
    return 2 * int(head.num)


def constant(values: Sequence[Any], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return numbers as a tensor on the device of another, see `kept`.

    Args:
        values: numbers, or sequences of them.
        like: a tensor of the device, and of the type where `dtype` is None.
        dtype: the type.
    """
    dtype = like.dtype if dtype is None else dtype
    return kept(_tensor, _as_tuple(values), dtype, like=like)


def kept(make: Callable[..., Tensor], *arguments: Hashable, like: Tensor) -> Tensor:
    """Return what a function makes on the CPU, on the device of a tensor; not to be written to.

    A graphics card keeps it: a copy takes as long as some kernels, and would be forbidden while a
    CUDA graph is recorded.

    Args:
        make: the function.
        arguments: its arguments, of which there are few.
        like: a tensor of the device.
    """
    if like.is_cuda and type(like) is Tensor and not is_traced(like):
        return _kept(make, arguments, like.device)
    return make(*arguments).to(like.device, non_blocking=True)


@cache
def _kept(
    make: Callable[..., Tensor], arguments: tuple[Hashable, ...], device: torch.device
) -> Tensor:
    """Return a tensor on a card; none is ever freed, as a recorded graph may read it."""
    with torch.inference_mode(mode=False):  # else gradients could not be computed with it
        return make(*arguments).to(device)


def _tensor(values: tuple[Any, ...], dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, dtype=dtype)


def _as_tuple(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(_as_tuple(each) if isinstance(each, Sequence) else each for each in values)


def anchor_pairs(anchors: tuple[float, ...], count: int) -> tuple[tuple[float, float], ...]:
    """Return (width, height) of `count` anchors; what the list lacks is one half, as in Darknet."""
    padded = (*anchors, *[0.5] * (2 * count))[: 2 * count]
    return tuple(zip(padded[0::2], padded[1::2], strict=True))
