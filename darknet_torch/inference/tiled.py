"""Detecting in large images tile by tile; see `tile_joining` for what becomes of cut objects."""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from darknet_torch.errors import DarknetError
from darknet_torch.heads.nms import NmsKind, non_maximum_suppression
from darknet_torch.images.reading import ImageSource
from darknet_torch.images.strips import Strips, bands, open_strips
from darknet_torch.inference.detections import Detections
from darknet_torch.inference.prepared import Prepared
from darknet_torch.inference.sources import expand, fetched, path_of
from darknet_torch.inference.streaming import Outcome, Outcomes, read_ahead
from darknet_torch.inference.tile_grid import TileGrid, tile_grid
from darknet_torch.inference.tile_joining import TileObjects, join_cut_objects
from darknet_torch.network.eval_mode import in_eval_mode

if TYPE_CHECKING:
    from darknet_torch.inference.detector import Detector

__all__ = ["TiledDetector", "TiledImage"]

Tile = tuple[int, Tensor]
"""Index of a tile in its image, and its pixels (C, H, W)."""


@dataclass(frozen=True)
class TiledImage:
    """An image that is read band by band.

    Args:
        strips: the image.
        grid: its tiles.
        path: its file or address, if it has one.
    """

    strips: Strips
    grid: TileGrid
    path: str | None

    def tiles(self) -> Iterator[Tile]:
        """Yield the tiles, row by row."""
        number = 0
        for band in bands(self.strips, self.grid.tops, self.grid.height):
            for left in self.grid.lefts:
                yield number, band[:, :, left : left + self.grid.width]
                number += 1


class TiledDetector:
    """A detector that looks at the tiles of an image, a batch of them at a time.

    Args:
        detector: with its settings.
        tile: width and height of a tile in pixels.
        overlap: share of a tile that the next one has, too.
    """

    def __init__(self, detector: "Detector", tile: tuple[int, int], overlap: float) -> None:
        self.network, self.tile, self.overlap = detector.network, tile, overlap
        self._detector, self._settings = detector, detector.postprocessing

    def stream(self, sources: Any) -> Outcomes[Detections]:
        """Yield an outcome for every image, in order; `sources` as in `detect`."""
        if isinstance(sources, str | PathLike | Tensor):
            sources, _ = expand(sources)
        with in_eval_mode(self.network):
            yield from map(self._outcome, sources)

    def _outcome(self, source: Any) -> Outcome[Detections]:
        try:
            return Outcome(source, self.detect(self.prepare(source)))
        except DarknetError as error:
            return Outcome(source, None, error)

    def prepare(self, source: ImageSource) -> TiledImage:
        """Open one image; ImageError if it cannot be read."""
        channels, detector = self.network.plan.input.c, self._detector
        strips = open_strips(fetched(source), channels, detector.max_pixels, detector.decoder)
        grid = tile_grid((strips.width, strips.height), self.tile, self.overlap)
        return TiledImage(strips, grid, path_of(source))

    def forward(self, images: Sequence[TiledImage]) -> tuple[Tensor, ...]:
        """Return nothing: the outputs of all tiles would fill the memory."""
        return ()

    def postprocess(
        self, outputs: Sequence[Tensor], images: Sequence[TiledImage]
    ) -> list[Detections]:
        """Return the detections of each image, whose tiles run through the network now."""
        return [self.detect(image) for image in images]

    def detect(self, image: TiledImage) -> Detections:
        """Return the detections of an image, the highest score first.

        Raises:
            ImageError: the file is damaged.
        """
        parts = list(self._of_tiles(image))
        objects = TileObjects(*(torch.cat(each) for each in zip(*parts, strict=True)))
        size = image.strips.width, image.strips.height
        joined = join_cut_objects(objects, image.grid, size)
        kept = self._kept(joined)
        order = joined.score[kept].argsort(descending=True, stable=True)
        best = kept[order][: self._settings.max_det]
        columns = joined.xyxy[best], joined.score[best], joined.class_id[best]
        return Detections(*columns, self._settings.names, *size, path=image.path)

    def _of_tiles(self, image: TiledImage) -> Iterator[TileObjects]:
        """Yield the objects of each tile, batch by batch."""
        detector, windows = copy(self._detector), image.grid.windows()
        detector.postprocessing = replace(self._settings, max_det=None)  # is of the whole image
        ahead = self._prepared(image.tiles(), image.path)
        while batch := list(islice(ahead, detector.batch_size)):
            prepared = [each for _, each in batch]
            found = detector.postprocess(detector.forward(prepared), prepared)
            for (number, _), objects in zip(batch, found, strict=True):
                corner = windows[number, :2].repeat(2)
                tile = torch.full((len(objects),), number)
                xyxy = objects.xyxy + corner
                yield TileObjects(xyxy, objects.score, objects.class_id, tile)

    def _prepared(self, tiles: Iterable[Tile], path: str | None) -> Iterator[tuple[int, Prepared]]:
        """Yield the number of each tile, and its pixels in the size of the network's input."""
        detector = self._detector

        def prepare(tile: Tile) -> Prepared:
            return replace(detector.prepare(tile[1]), path=path)

        for (number, _), each in read_ahead(
            prepare, tiles, detector.workers, 2 * detector.batch_size
        ):
            if isinstance(each, DarknetError):
                raise each
            yield number, each

    def _kept(self, objects: TileObjects) -> Tensor:
        """Return the indices of the objects that NMS among all tiles keeps."""
        if not self._detector.nms:
            return torch.arange(len(objects.score))
        kinds: dict[str, NmsKind] = {"greedynms": "greedynms", "diounms": "diounms"}
        settings = self._settings
        groups = torch.zeros_like(objects.class_id) if settings.agnostic else objects.class_id
        kind = kinds.get(settings.nms_kind, "default")
        alive = non_maximum_suppression(
            objects.xyxy, objects.score, groups, self._detector.nms, kind, settings.beta
        )
        return alive.nonzero()[:, 0]
