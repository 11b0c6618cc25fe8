"""Training examples of classifiers: a turned and scaled part of an image, and its class."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from darknet_torch.images.resizing import center_crop, resize_min
from darknet_torch.layers.truth import NO_LABEL
from darknet_torch.layers.word_tree import Tree
from darknet_torch.training.augment import flip, rotate_crop
from darknet_torch.training.colour import Colour
from darknet_torch.training.examples import Example, ExampleMaker, blur_and_noise, other_indices
from darknet_torch.training.mosaic import Placed, blend, cut_box, cut_point, mosaic
from darknet_torch.training.objects import ImageObjects
from darknet_torch.training.random_transforms import Randomness, random_colour, random_rotation

__all__ = ["ClassExamples", "class_values"]

NONE = np.zeros(0, np.int64)
NO_OBJECTS = ImageObjects(np.zeros((0, 4)), NONE, np.zeros(0, bool), NONE)


class ClassExamples(ExampleMaker):
    """Makes the examples of a data set of classes, see `MakeExample`."""

    def __call__(self, rngs: Randomness, index: int, height: int, width: int) -> Example:
        """Return the example of an image; see `MakeExample`."""
        image, values, colour = self._composed(rngs, index, (width, height))
        return Example(image, NO_OBJECTS, values, self.samples[index].path, colour)

    def _composed(
        self, rngs: Randomness, index: int, net: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Colour]:
        options, rng = self.options, rngs.own
        placed, values = self._placed(rngs, index, net)
        if not options.augment:
            return placed.image, values, Colour()
        ways = [way for way in (_mosaic, _cut_mix) if getattr(options, WAYS[way])]
        ways = ways or [_mix_up] * options.mixup
        if not ways or rng.random() < 0.5:
            if options.leaves_colour:
                return placed.image, values, placed.colour
            image = placed.pixels()
        else:
            way = ways[rng.integers(len(ways))]
            others = other_indices(rng, len(self.samples), 3 if way is _mosaic else 1)
            more = [self._placed(rngs, each, net) for each in others]
            image, values = way(rng, [(placed, values), *more])
        return blur_and_noise(rng, options, image, NO_OBJECTS), values, Colour()

    def _placed(self, rngs: Randomness, index: int, net: tuple[int, int]) -> tuple[Placed, Tensor]:
        options, sample = self.options, self.samples[index]
        image = self.read_image(index)
        values = class_values(sample.label, options.classes, options.label_smoothing, options.tree)
        if not options.augment:
            return Placed(_middle(image, net), NO_OBJECTS), values
        *place, mirrored = random_rotation(rngs.moves, options, (sample.width, sample.height), net)
        radians, scale, dx, dy, aspect = place
        if options.center:
            image = _middle(image, net)
        else:
            image = rotate_crop(image, radians, scale, *net, dx, dy, aspect)
        image = flip(image) if mirrored else image
        return Placed(image, NO_OBJECTS, colour=random_colour(rngs.colours, options)), values


Classed = tuple[Placed, Tensor]
"""An image and its vector of classes."""


def _mix_up(rng: np.random.Generator, images: Sequence[Classed]) -> tuple[Tensor, Tensor]:
    (first, values), (second, other_values) = images
    return blend(first.pixels(), second.pixels()), (values + other_values) / 2


def _cut_mix(rng: np.random.Generator, images: Sequence[Classed]) -> tuple[Tensor, Tensor]:
    (first, values), (second, other_values) = images
    image = first.pixels().clone()
    height, width = image.shape[1:]
    rows, columns = cut_box(rng, width, height)
    image[:, rows, columns] = second.pixels(rows, columns)
    area = (rows.stop - rows.start) * (columns.stop - columns.start) / (width * height)
    return image, (1 - area) * values + area * other_values


def _mosaic(rng: np.random.Generator, images: Sequence[Classed]) -> tuple[Tensor, Tensor]:
    height, width = images[0][0].image.shape[1:]
    cut = cut_point(rng, width, height)
    x, y = cut[0] / width, cut[1] / height
    shares = torch.tensor((x * y, (1 - x) * y, x * (1 - y), (1 - x) * (1 - y)))
    values = torch.stack([each for _, each in images])
    return mosaic([placed for placed, _ in images], cut)[0], shares @ values


WAYS = {_mosaic: "mosaic", _cut_mix: "cutmix"}
"""How images are composed -> the option."""


def _middle(image: Tensor, net: tuple[int, int]) -> Tensor:
    part = center_crop(resize_min(image, net[0]), *net)
    return part.mul(255).round_().to(torch.uint8)


def class_values(label: int | None, classes: int, smoothing: float, tree: Tree | None) -> Tensor:
    """Return the vector (classes,) that the output for an image of one class is compared with.

    Args:
        label: class index; None for no class.
        classes: number of classes.
        smoothing: what the other classes share.
        tree: of the classes: the class and its ancestors are 1, their groups' others 0, and groups
            that the label says nothing about are not labelled.
    """
    if label is None:
        return torch.zeros(classes)
    if tree is None:
        values = torch.full((classes,), smoothing / max(classes - 1, 1))
        values[label] = 1 - smoothing
        return values
    values = torch.full((classes,), NO_LABEL)
    node = label
    while node >= 0:
        values[tree.group_of == tree.group_of[node]] = 0
        values[node] = 1
        node = tree.parent[node]
    # the groups are disjoint, so that no ancestor is overwritten
    return values
