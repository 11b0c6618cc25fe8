"""Objects that tiles cut into parts are joined again.

The rule is that of DarkHelp: detections of one class, in neighbouring tiles, are one object if one
of them is near an edge of its tile (`EDGE_FACTOR` of its size), and the rectangle around both has
little more than their area (`RECT_FACTOR` times). DarkHelp's tiles touch. As these overlap, area
that both have counts once, and both must agree about the region that both tiles see, unless the
one near the edge is inside the other.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from darknet_torch.heads.boxes import iou
from darknet_torch.inference.tile_grid import TileGrid

__all__ = ["TileObjects", "join_cut_objects"]

EDGE_FACTOR = 0.25
"""Share of a box's size up to which its distance from an edge is near."""
RECT_FACTOR = 1.2
"""How many times the area of two parts the rectangle around them may have."""
AGREEMENT = 0.3
"""IoU, in the region that two tiles see, from which on two boxes agree."""
INSIDE = 0.7
"""Share of a box near an edge from which on it is a part of a box that it is inside of."""
NOTHING = 0.1
"""Share of a box in that region up to which it has nothing there."""


class TileObjects(NamedTuple):
    """The objects of all tiles of an image.

    Args:
        xyxy: (N, 4) in pixels of the image.
        score: (N,).
        class_id: (N,) int64.
        tile: (N,) int64, index of the tile.
    """

    xyxy: Tensor
    score: Tensor
    class_id: Tensor
    tile: Tensor


def join_cut_objects(objects: TileObjects, grid: TileGrid, size: tuple[int, int]) -> TileObjects:
    """Return the objects with one in place of its parts; its score is the highest of them.

    Args:
        objects: of all tiles.
        grid: the tiles.
        size: width and height of the image.
    """
    windows = grid.windows().to(objects.xyxy)[objects.tile]
    cut = _near_edges(objects.xyxy, windows, size)
    pairs = _pairs(objects, grid, windows, cut)
    return _Joining(objects, ~cut).join(pairs)


def _near_edges(xyxy: Tensor, windows: Tensor, size: tuple[int, int]) -> Tensor:
    """Return whether boxes (N, 4) are near an edge of their tile inside the image, (N,) bool."""
    near = EDGE_FACTOR * (xyxy[:, 2:] - xyxy[:, :2])
    low = (windows[:, :2] > 0) & (xyxy[:, :2] - windows[:, :2] <= near)
    high = (windows[:, 2:] < windows.new_tensor(size)) & (windows[:, 2:] - xyxy[:, 2:] <= near)
    return (low | high).any(dim=1)


def _pairs(objects: TileObjects, grid: TileGrid, windows: Tensor, cut: Tensor) -> Tensor:
    """Return the pairs (P, 2) that are parts of one object, the best fitting first."""
    order = objects.tile.argsort(stable=True)
    tiles, counts = objects.tile[order].unique_consecutive(return_counts=True)
    of_tile = dict(zip(tiles.tolist(), order.split(counts.tolist()), strict=True))
    none = order.new_zeros(0)
    parts, fits = [none.reshape(0, 2)], [windows.new_zeros(0)]
    for tile, mine in of_tile.items():
        mine = mine[cut[mine]]
        near = [of_tile[n] for n in grid.neighbours(tile) if n != tile and n in of_tile]
        if len(mine) and near:
            pairs = torch.cartesian_prod(mine, torch.cat(near))
            pairs = pairs[objects.class_id[pairs[:, 0]] == objects.class_id[pairs[:, 1]]]
            fit = _fit(objects.xyxy[pairs[:, 0]], objects.xyxy[pairs[:, 1]])
            agree = _agree(objects.xyxy[pairs], windows[pairs])
            inside = _share_inside(objects.xyxy[pairs[:, 0]], objects.xyxy[pairs[:, 1]])
            chosen = (fit <= RECT_FACTOR) & (agree | (inside >= INSIDE))
            parts.append(pairs[chosen])
            fits.append(fit[chosen])
    return torch.cat(parts)[torch.cat(fits).argsort(stable=True)]


def _fit(a: Tensor, b: Tensor) -> Tensor:
    """Return the area of the rectangle around two boxes over that of both; inf without area."""
    both = _area(a) + _area(b) - _area(_intersection(a, b))
    around = torch.cat((torch.minimum(a, b)[..., :2], torch.maximum(a, b)[..., 2:]), dim=-1)
    return torch.where(both > 0, _area(around) / both, torch.inf)


def _share_inside(a: Tensor, b: Tensor) -> Tensor:
    """Return the share of boxes `a` (P, 4) that is inside `b`; 0 without area."""
    area = _area(a)
    return torch.where(area > 0, _area(_intersection(a, b)) / area, 0.0)


def _agree(boxes: Tensor, windows: Tensor) -> Tensor:
    """Return whether two boxes (P, 2, 4) agree in the region that their tiles (P, 2, 4) share."""
    shared = _intersection(windows[:, 0], windows[:, 1])
    a, b = (_intersection(boxes[:, number], shared) for number in range(2))
    inside = torch.maximum(_area(a), _area(b))
    smaller = torch.minimum(_area(boxes[:, 0]), _area(boxes[:, 1]))
    overlap = torch.where(torch.minimum(_area(a), _area(b)) > 0, iou(a, b), 0.0)
    return (overlap >= AGREEMENT) | (inside <= NOTHING * smaller)


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    low, high = torch.maximum(a, b)[..., :2], torch.minimum(a, b)[..., 2:]
    return torch.cat((low, torch.maximum(low, high)), dim=-1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(dim=-1)


class _Joining:
    """Joins parts pair by pair: a pair is joined if it still fits what its parts were joined to."""

    def __init__(self, objects: TileObjects, whole: Tensor) -> None:
        self.objects = objects
        self.root = list(range(len(whole)))
        self.box = dict[int, Tensor]()
        self.whole = dict[int, bool]()
        self._is_whole = whole

    def join(self, pairs: Tensor) -> TileObjects:
        """Return the objects with the pairs joined."""
        for a, b in pairs.tolist():
            self._join(self._find(a), self._find(b))
        xyxy, score = self.objects.xyxy.clone(), self.objects.score.clone()
        kept = torch.ones(len(score), dtype=torch.bool, device=score.device)
        for part, root in enumerate(self.root):
            if part != root:
                root = self._find(part)
                kept[part] = False
                score[root] = torch.maximum(score[root], score[part])
        for root, box in self.box.items():
            xyxy[root] = box
        joined = self.objects._replace(xyxy=xyxy, score=score)
        return TileObjects(*(column[kept] for column in joined))

    def _join(self, a: int, b: int) -> None:
        if a == b:
            return
        first, second = self._box(a), self._box(b)
        if _fit(first, second) > RECT_FACTOR:
            return
        around = torch.cat((torch.minimum(first, second)[:2], torch.maximum(first, second)[2:]))
        # a tile that saw the whole object knows its box better than the rectangle around all parts
        for number, box in ((a, first), (b, second)):
            if self._was_whole(number) and _area(around) <= RECT_FACTOR * _area(box):
                around = box
        self.box.pop(b, None)
        self.box[a], self.root[b] = around, a
        self.whole[a] = self._was_whole(a) or self._was_whole(b)

    def _find(self, part: int) -> int:
        while self.root[part] != part:
            part = self.root[part]
        return part

    def _box(self, root: int) -> Tensor:
        return self.box.get(root, self.objects.xyxy[root])

    def _was_whole(self, root: int) -> bool:
        return self.whole.get(root, bool(self._is_whole[root]))
