"""Training examples of classifiers: a turned and scaled part of an image, and its class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from darknet_torch.data.dataset import Sample
from darknet_torch.images.resizing import center_crop, resize_min
from darknet_torch.layers.truth import NO_LABEL
from darknet_torch.layers.word_tree import Tree
from darknet_torch.training.augment import flip, rotate_crop
from darknet_torch.training.augment_options import AugmentOptions
from darknet_torch.training.examples import Example, change_pixels, other_indices
from darknet_torch.training.image_cache import ReadImage
from darknet_torch.training.mosaic import Quarter, blend, cut_box, cut_point, mosaic
from darknet_torch.training.objects import Objects
from darknet_torch.training.random_transforms import random_rotation

__all__ = ["ClassExamples", "class_values"]

_NO_OBJECTS = Objects(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool))


@dataclass(frozen=True)
class ClassExamples:
    """Makes the examples of a data set of classes, see `MakeExample`.

    Args:
        samples: of the data set.
        read_image: yields their images.
        options: of the augmentation.
    """

    samples: Sequence[Sample]
    read_image: ReadImage
    options: AugmentOptions

    def __call__(self, rng: np.random.Generator, index: int, height: int, width: int) -> Example:
        """Return the example of an image; see `MakeExample`."""
        image, values = self._composed(rng, index, (width, height))
        return Example(image, _NO_OBJECTS, values, self.samples[index].path)

    def _composed(
        self, rng: np.random.Generator, index: int, net: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        options = self.options
        image, values = self._classified(rng, index, net)
        if not options.augment or not (options.mixup or options.cutmix or options.mosaic):
            return image, values
        if rng.random() < 0.5:
            return image, values
        (width, height), compose = net, "mixup"
        if options.cutmix or options.mosaic:
            both = options.cutmix and options.mosaic
            pasted = rng.random() < 0.5 if both else options.cutmix
            compose = "cutmix" if pasted else "mosaic"
        if compose == "mosaic":
            cut = cut_point(rng, width, height)
            every = [(image, values)]
            every += [
                self._classified(rng, each, net)
                for each in other_indices(rng, len(self.samples), 3)
            ]
            quarters = [Quarter(each, _NO_OBJECTS, (0, 0, 0, 0)) for each, _ in every]
            x, y = cut[0] / width, cut[1] / height
            shares = (x * y, (1 - x) * y, x * (1 - y), (1 - x) * (1 - y))
            mixed = sum(share * each for share, (_, each) in zip(shares, every, strict=True))
            return mosaic(quarters, cut)[0], torch.as_tensor(mixed)
        (partner,) = other_indices(rng, len(self.samples), 1)
        other, other_values = self._classified(rng, partner, net)
        if compose == "mixup":
            return blend(image, other), (values + other_values) / 2
        rows, columns = cut_box(rng, width, height)
        image = image.clone()
        image[:, rows, columns] = other[:, rows, columns]
        area = (rows.stop - rows.start) * (columns.stop - columns.start) / (width * height)
        return image, (1 - area) * values + area * other_values

    def _classified(
        self, rng: np.random.Generator, index: int, net: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        options, sample = self.options, self.samples[index]
        image = self.read_image(index)
        values = class_values(
            sample.label or 0, options.classes, options.label_smoothing, options.tree
        )
        if not options.augment or options.center:
            part = center_crop(resize_min(image, net[0]), *net)
            image = part.mul(255).round_().to(torch.uint8)
            if not options.augment:
                return image, values
            image = flip(image) if rng.random() < 0.5 and options.flip else image
        else:
            rotation = random_rotation(rng, options, (sample.width, sample.height), net)
            *angle, mirrored = rotation
            radians, scale, dx, dy, aspect = angle
            image = rotate_crop(image, radians, scale, *net, dx, dy, aspect)
            image = flip(image) if mirrored else image
        return change_pixels(rng, options, image, _NO_OBJECTS), values


def class_values(label: int, classes: int, smoothing: float, tree: Tree | None) -> Tensor:
    """Return the vector (classes,) that the output for an image of one class is compared with.

    Args:
        label: class index.
        classes: number of classes.
        smoothing: what the other classes share.
        tree: of the classes: the class and its ancestors are 1, their groups' others 0, and groups
            that the label says nothing about are not labelled.
    """
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
