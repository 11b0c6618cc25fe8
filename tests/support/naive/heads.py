"""Layers at the end: probabilities and boxes, as Darknet leaves them in the output."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from naive.net import IllegalError, Layer, section
from naive.numbers import Array, logistic, softmax


def tree_groups(layer: Layer) -> list[int]:
    """Sizes of the groups of the word tree: runs of lines with one parent."""
    name = Path(layer.word("tree", ""))
    folder = layer.section.folder or Path()
    lines = (folder / name.name if not name.is_file() else name).read_text().split("\n")
    parents = [int(line.split()[1]) for line in lines if line.strip()]
    sizes = [1]
    for before, after in pairwise(parents):
        if before == after:
            sizes[-1] += 1
        else:
            sizes.append(1)
    return sizes


def by_parts(x: Array, sizes: list[int], temperature: float = 1.0) -> Array:
    """Softmax of each run of a vector."""
    if sum(sizes) != len(x):
        raise IllegalError("groups do not fit")
    out, first = [], 0
    for size in sizes:
        out.append(softmax(x[first : first + size], temperature))
        first += size
    return np.concatenate(out)


@section("softmax", "soft")
def softmax_layer(layer: Layer) -> Array:
    x, groups = layer.x.reshape(-1), layer.integer("groups", 1)
    if len(x) % groups:
        raise IllegalError("groups")
    sizes = tree_groups(layer) if layer.section.get("tree") else [len(x) // groups] * groups
    return by_parts(x, sizes, layer.real("temperature", 1))


def _anchor_maps(layer: Layer, anchors: int, entries: int) -> Array:
    x = layer.map()
    if len(x) != anchors * entries:
        raise IllegalError("channels before the head")
    return x.reshape(anchors, entries, *x.shape[1:]).copy()


def _mask(layer: Layer) -> int:
    num = layer.integer("num", 1)
    mask = layer.word("mask", ",".join(map(str, range(num))))
    return len((mask.partition("#")[0] if layer.alexey else mask).split(","))


@section("yolo")
def yolo(layer: Layer) -> Array:
    out = _anchor_maps(layer, _mask(layer), 5 + layer.integer("classes", 20))
    if not layer.only_alexey("new_coords", 0):
        out[:, :2], out[:, 4:] = logistic(out[:, :2]), logistic(out[:, 4:])
    scale = layer.real("scale_x_y", 1) if layer.alexey else 1.0
    out[:, :2] = out[:, :2] * scale - 0.5 * (scale - 1)
    return out.reshape(layer.x.shape)


@section("Gaussian_yolo", fork="alexeyab")
def gaussian_yolo(layer: Layer) -> Array:
    out = _anchor_maps(layer, _mask(layer), 9 + layer.integer("classes", 20))
    scale = layer.real("scale_x_y", 1)
    for entry in range(out.shape[1]):
        if entry not in (4, 6):
            out[:, entry] = logistic(out[:, entry])
        if entry in (0, 2):
            out[:, entry] = out[:, entry] * scale - 0.5 * (scale - 1)
    return out.reshape(layer.x.shape)


@section("region")
def region(layer: Layer) -> Array:
    coords, classes = layer.integer("coords", 4), layer.integer("classes", 20)
    out = _anchor_maps(layer, layer.integer("num", 1), coords + 1 + classes)
    tree = tree_groups(layer) if layer.section.get("tree") else None
    smooth = layer.integer("softmax", 0)
    background = layer.only_pjreddie("background", 0)
    objectness = 4 if layer.alexey else coords
    for anchor, i, j in np.ndindex(len(out), *out.shape[2:]):
        cell = out[anchor, :, i, j]
        if not layer.alexey:
            cell[:2] = logistic(cell[:2])
        if not background:
            cell[objectness] = logistic(cell[objectness])
        if tree is not None:
            first = objectness + 1
            cell[first : first + classes] = by_parts(cell[first:][:classes], tree)
        elif smooth:
            first = objectness + (not background)
            cell[first:] = softmax(cell[first:])
        elif not layer.alexey:
            cell[objectness + 1 :] = logistic(cell[objectness + 1 :])
    if layer.alexey:
        out = out.transpose(2, 3, 0, 1)
    return out.reshape(layer.x.shape)


@section("detection")
def detection(layer: Layer) -> Array:
    x, side = layer.x.reshape(-1).copy(), layer.integer("side", 7)
    coords, num, classes = (layer.integer(key, 1) for key in ("coords", "num", "classes"))
    if len(x) != side * side * ((1 + coords) * num + classes):
        raise IllegalError("values before the head")
    if layer.integer("softmax", 0):
        for cell in range(side * side):
            x[cell * classes : (cell + 1) * classes] = softmax(x[cell * classes :][:classes])
    return x


@section("iseg", fork="pjreddie")
def iseg(layer: Layer) -> Array:
    x, classes, ids = layer.map(), layer.integer("classes", 20), layer.integer("ids", 32)
    if len(x) != classes + ids:
        raise IllegalError("channels before iseg")
    return np.concatenate([logistic(x[:classes]), x[classes:]])
