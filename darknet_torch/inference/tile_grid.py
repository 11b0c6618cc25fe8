"""Tiles: equal windows that cover an image and overlap."""

import re
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from darknet_torch.errors import UsageError

__all__ = ["TileGrid", "Tiles", "check_tiles", "tile_grid"]

Tiles = str | tuple[int, int] | None
"""Width and height of a tile in pixels, as text too; "auto" is the network's input."""
MOST_OVERLAP = 0.9
SMALLEST = 16


@dataclass(frozen=True)
class TileGrid:
    """Tiles of an image, row by row.

    Args:
        lefts: first column of each tile of a row.
        tops: first row of each row of tiles.
        width: of a tile, in pixels.
        height: of a tile.
    """

    lefts: tuple[int, ...]
    tops: tuple[int, ...]
    width: int
    height: int

    def windows(self) -> Tensor:
        """Return all tiles (T, 4), int64: left, top, right, bottom in pixels of the image."""
        top, left = torch.meshgrid(torch.tensor(self.tops), torch.tensor(self.lefts), indexing="ij")
        corner = torch.stack((left.flatten(), top.flatten()), dim=1)
        return torch.cat((corner, corner + torch.tensor((self.width, self.height))), dim=1)

    def neighbours(self, tile: int) -> list[int]:
        """Return the tiles that touch or overlap one, itself among them."""
        row, column = divmod(tile, len(self.lefts))
        columns = _near(self.lefts, column, self.width)
        return [
            r * len(self.lefts) + c for r in _near(self.tops, row, self.height) for c in columns
        ]


def check_tiles(tiles: Tiles, overlap: float, size: tuple[int, int]) -> tuple[int, int] | None:
    """Return width and height of a tile; None for no tiles.

    Args:
        tiles: see `Tiles`.
        overlap: share of a tile that the next one has, too.
        size: width and height of the network's input.

    Raises:
        UsageError: one of them cannot be.
    """
    if not 0 <= overlap <= MOST_OVERLAP:
        raise UsageError(f"overlap={overlap}: must be from 0 to {MOST_OVERLAP}")
    if tiles is None:
        return None
    if tiles == "auto":
        return size
    if isinstance(tiles, str):
        found = re.fullmatch("([0-9]{1,9})[xX]([0-9]{1,9})", tiles)
        sides = [int(found[1]), int(found[2])] if found else []
    else:
        sides = [side for side in tiles if isinstance(side, int)]
    if len(sides) != 2 or min(sides) < SMALLEST:
        what = f"must be auto, or width x height such as 800x600, at least {SMALLEST} pixels each"
        raise UsageError(f"tiles={tiles}: {what}")
    return sides[0], sides[1]


def tile_grid(image: tuple[int, int], tile: tuple[int, int], overlap: float) -> TileGrid:
    """Return the tiles of an image: as few as overlap that much, at equal distances.

    Args:
        image: width and height in pixels.
        tile: the same of a tile; an image that is smaller makes it smaller.
        overlap: least share of a tile that the next one has, too.
    """
    width, height = min(tile[0], image[0]), min(tile[1], image[1])
    return TileGrid(
        _starts(image[0], width, overlap), _starts(image[1], height, overlap), width, height
    )


def _starts(image: int, tile: int, overlap: float) -> tuple[int, ...]:
    step = max(1.0, tile * (1 - overlap))
    count = 1 + ceil((image - tile) / step)
    return tuple(round(number * (image - tile) / max(1, count - 1)) for number in range(count))


def _near(starts: tuple[int, ...], index: int, size: int) -> list[int]:
    return [n for n, start in enumerate(starts) if abs(start - starts[index]) <= size]
