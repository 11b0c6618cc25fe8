"""Anchors: the few sizes of boxes that fit those of a data set best.

    anchors = find_anchors(data.read("my.yaml"), 9, 416, 416)    # pixels of the input, for [yolo]
    anchors.mean_iou                                             # 0.68
    print(*cfg_lines(anchors, "yolo"), sep="\\n")                 # anchors=10,13, 16,30, ...

The distance of a box and an anchor is 1 - IoU of the two with a common centre (YOLO9000, section
"Dimension Clusters"). There are many k-means++ starts, drawn with a seed. K-means would then move
an anchor to the mean of its boxes, which is not where the sum of distances is smallest; here it is
moved step by step to where the mean IoU is largest, among the numbers that the cfg can hold.

Of millions of boxes the starts use 5 000 (drawn with the seed) and the last steps 50 000; the mean
IoU and the counts of the result are those of all.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from darknet_torch.data import Dataset
from darknet_torch.data.dataset import Array
from darknet_torch.errors import DataError, UsageError, warn

__all__ = [
    "Anchors",
    "HeadKind",
    "best_iou",
    "box_sizes",
    "cfg_lines",
    "cluster",
    "find_anchors",
]

HeadKind = Literal["yolo", "region"]

_CELL = 32
"""Pixels of a cell of the region networks: [region] counts its anchors in cells."""
_UNITS: dict[HeadKind, float] = {"yolo": 1.0, "region": 1e-4}
"""The step of the numbers in the cfg, as Darknet's calc_anchors prints them."""
_BOXES_OF_STARTS, _BOXES_OF_LAST_STEPS, _CHUNK = 5_000, 50_000, 1 << 17
_STEPS = tuple(0.5**power for power in range(2, 10))
_MOVES = np.array([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y])


@dataclass(frozen=True, eq=False)
class Anchors:
    """Anchors, smallest area first, as Darknet sorts them.

    Attributes:
        sizes: (k, 2) float64, width and height, in the unit of the boxes.
        mean_iou: 0..1, mean IoU of each box with the anchor that fits it best.
        counts: (k,) int64, number of boxes that each anchor fits best.
    """

    sizes: Array
    mean_iou: float
    counts: Array


def best_iou(boxes: Array, anchors: Array) -> tuple[Array, Array]:
    """Return the IoU (N,) of boxes (N, 2) with the best of anchors (k, 2), and its index (N,)."""
    best, number = np.empty(len(boxes)), np.empty(len(boxes), np.int64)
    for start in range(0, len(boxes), _CHUNK):
        part = slice(start, start + _CHUNK)
        iou = _iou(boxes[part], anchors)
        number[part] = iou.argmax(axis=1)
        best[part] = iou.max(axis=1)
    return best, number


def cluster(
    boxes: Array, k: int, *, restarts: int = 50, seed: int = 0, unit: float = 0.0
) -> Anchors:
    """Compute k anchors with a mean IoU as large as possible.

    Args:
        boxes: (N, 2) width and height, in any unit.
        k: number of anchors.
        restarts: number of k-means++ starts.
        seed: of the starts; the same seed gives the same anchors, in whatever order the boxes are.
        unit: anchors are whole multiples of it; 0: any number.

    Raises:
        UsageError: fewer than one anchor or start.
        DataError: sizes that are not positive numbers, or fewer different ones than anchors.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 2)
    _check(boxes, k, restarts)
    kinds, times = np.unique(boxes, axis=0, return_counts=True)
    if len(kinds) < k:
        raise DataError(f"{k} anchors from {len(kinds)} different sizes of boxes: too many")
    random = np.random.default_rng(seed)
    few = _sample(kinds, times, max(_BOXES_OF_STARTS, k), random)
    tried = [_climb(*few, _start(*few, k, random), _STEPS, unit) for _ in range(restarts)]
    anchors, _ = max(tried, key=lambda result: result[1])
    if len(kinds) > len(few[0]):
        many = _sample(kinds, times, _BOXES_OF_LAST_STEPS, random)
        anchors, _ = _climb(*many, anchors, _STEPS[3:], unit)
    anchors = anchors[np.lexsort((anchors[:, 0], anchors.prod(axis=1)))]
    iou, number = best_iou(kinds, anchors)
    counts = np.bincount(number, times, k).astype(np.int64)
    return Anchors(anchors, float(np.average(iou, weights=times)), counts)


def box_sizes(dataset: Dataset, width: int, height: int, *, letterbox: bool = False) -> Array:
    """Return the sizes (N, 2) of a data set's boxes in the input of a network, in pixels.

    Boxes that are difficult or a crowd are left out; so are those without a size, with a warning.

    Args:
        dataset: with boxes.
        width: of the network's input in pixels.
        height: of the network's input in pixels.
        letterbox: images keep their proportions in it (pjreddie's networks) instead of being
            stretched.
    """
    parts = [np.zeros((0, 2))]
    for sample in dataset.samples:
        objects = sample.ground_truth
        objects = objects[~(objects.difficult | objects.crowd)]
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.array([width, height]) / np.array([sample.width, sample.height])
            scale = scale.min() if letterbox else scale
            parts.append((objects.xyxy[:, 2:] - objects.xyxy[:, :2]) * scale)
    boxes = np.concatenate(parts)
    good = _have_size(boxes)
    if not good.all():
        text = f"{dataset.source}: {np.count_nonzero(~good)} boxes without a size are left out"
        warn(text)
    return boxes[good]


def find_anchors(
    dataset: Dataset,
    clusters: int,
    width: int,
    height: int,
    *,
    head: HeadKind = "yolo",
    letterbox: bool = False,
    restarts: int = 50,
    seed: int = 0,
) -> Anchors:
    """Compute anchors for a network, rounded as the cfg has them.

    Args:
        dataset: with boxes.
        clusters: number of anchors.
        width: of the network's input in pixels.
        height: of the network's input in pixels.
        head: "yolo": whole pixels of that input; "region": cells of 32 pixels with four decimals.
        letterbox: see `box_sizes`.
        restarts: see `cluster`.
        seed: see `cluster`.

    Returns:
        Anchors, whose mean IoU is that of the rounded numbers.

    Raises:
        UsageError: fewer than one anchor, start, or pixel.
        DataError: no boxes, or fewer different sizes than anchors.
    """
    if width < 1 or height < 1:
        raise UsageError(f"an input of {width} x {height} pixels: each must be at least 1")
    boxes = box_sizes(dataset, width, height, letterbox=letterbox)
    if not len(boxes):
        raise DataError(f"{dataset.source}: no box in {len(dataset)} images to take anchors from")
    cell = _CELL if head == "region" else 1
    return cluster(boxes / cell, clusters, restarts=restarts, seed=seed, unit=_UNITS[head])


def cfg_lines(anchors: Anchors, head: HeadKind = "yolo", heads: int | None = None) -> list[str]:
    """Return the lines of a cfg: `anchors`, `num`, and for [yolo] a `mask` for each of its heads.

    Args:
        anchors: in the unit of the head.
        head: "yolo" or "region".
        heads: how many share the anchors, the largest for the coarsest; None: three if the number
            of anchors can be divided by three and is at least nine, else two if it is even, else
            one.

    Raises:
        UsageError: the heads cannot share the anchors equally.
    """
    k, digits = len(anchors.sizes), 0 if head == "yolo" else 4
    pairs = (f"{w:.{digits}f},{h:.{digits}f}" for w, h in anchors.sizes)
    lines = ["anchors=" + ", ".join(pairs), f"num={k}"]
    if head == "region":
        return lines
    heads = (3 if k % 3 == 0 and k >= 9 else 2 if k % 2 == 0 else 1) if heads is None else heads
    if heads < 1 or k % heads:
        raise UsageError(f"{k} anchors cannot be shared by {heads} heads equally")
    each, finest = k // heads, _CELL >> min(heads - 1, 2)
    for scale in reversed(range(heads)):
        mask = ",".join(map(str, range(scale * each, (scale + 1) * each)))
        lines += [f"# stride {finest << scale}", f"mask={mask}"]
    return lines


def _check(boxes: Array, k: int, restarts: int) -> None:
    if k < 1:
        raise UsageError(f"{k} anchors: at least 1")
    if restarts < 1:
        raise UsageError(f"{restarts} restarts: at least 1")
    if not len(boxes):
        raise DataError("no boxes to take anchors from")
    wrong = ~_have_size(boxes)
    if wrong.any():
        w, h = boxes[wrong][0]
        raise DataError(f"box {int(wrong.argmax())}: {w:g} x {h:g} is no size; positive ones are")


def _have_size(boxes: Array) -> Array:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        area = boxes.prod(axis=1)
    good: Array = (boxes > 0).all(axis=1) & (area > 0) & np.isfinite(area)
    return good


def _iou(boxes: Array, anchors: Array) -> Array:
    """IoU (N, k) of boxes and anchors that have the same centre."""
    inside = np.minimum(boxes[:, None, 0], anchors[:, 0])
    inside *= np.minimum(boxes[:, None, 1], anchors[:, 1])
    area = boxes.prod(axis=1)[:, None] + anchors.prod(axis=1)
    area -= inside
    inside /= area
    return inside


def _sample(
    kinds: Array, times: Array, most: int, random: np.random.Generator
) -> tuple[Array, Array]:
    """At most so many of the boxes, as different sizes and how often each occurs."""
    if len(kinds) <= most:
        return kinds, times
    drawn = random.choice(len(kinds), most, p=times / times.sum())
    index, count = np.unique(drawn, return_counts=True)
    return kinds[index], count


def _start(boxes: Array, times: Array, k: int, random: np.random.Generator) -> Array:
    """Boxes that are far from one another (k-means++ with the distance 1 - IoU)."""
    far = np.ones(len(boxes))
    chosen: list[int] = []
    for _ in range(k):
        weight = far * times
        if not weight.any():  # all boxes that are left equal a chosen one but for rounding
            weight = np.ones(len(boxes))
        chosen.append(int(random.choice(len(boxes), p=weight / weight.sum())))
        far = np.minimum(far, 1 - _iou(boxes, boxes[chosen[-1:]])[:, 0]).clip(0)
    return boxes[chosen]


def _climb(
    boxes: Array, times: Array, anchors: Array, steps: tuple[float, ...], unit: float
) -> tuple[Array, float]:
    """Move anchors one at a time, by ever smaller parts of their size, while the mean IoU grows."""
    anchors = _rounded(anchors, unit)
    iou = _iou(boxes, anchors)
    value = float(times @ iou.max(axis=1))
    for step in steps:
        grown = True
        while grown:
            grown = False
            for j in range(len(anchors)):
                others = np.delete(iou, j, axis=1).max(axis=1, initial=0)
                tried = _rounded(anchors[j] + _MOVES * np.maximum(anchors[j] * step, unit), unit)
                new = _iou(boxes, tried)
                values = times @ np.maximum(new, others[:, None])
                best = int(values.argmax())
                if values[best] > value * (1 + 1e-9):  # not for the sake of rounding errors
                    value, grown = float(values[best]), True
                    anchors[j], iou[:, j] = tried[best], new[:, best]
    return anchors, value / float(times.sum())


def _rounded(anchors: Array, unit: float) -> Array:
    """The nearest multiples of the unit that are positive."""
    if not unit:
        return anchors.copy()
    # (the division by a whole number keeps 0.3 the float that prints as 0.3)
    return np.maximum(np.round(anchors / unit), 1) / (1 / unit)
