"""Training examples of detectors: an augmented image, or several in one, and its objects."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from darknet_torch.data.dataset import Sample
from darknet_torch.training.augment import Geometry
from darknet_torch.training.augment_options import AugmentOptions
from darknet_torch.training.examples import Example, change_pixels, other_indices
from darknet_torch.training.image_cache import ReadImage
from darknet_torch.training.mosaic import Quarter, blend, cut_point, mosaic, to_corner
from darknet_torch.training.objects import Objects
from darknet_torch.training.random_transforms import plain_geometry, random_geometry

__all__ = ["DetectionExamples"]


@dataclass(frozen=True)
class DetectionExamples:
    """Makes the examples of a data set of boxes, see `MakeExample`.

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
        image, objects = self._composed(rng, index, (width, height))
        return Example(image, objects, None, self.samples[index].path)

    def _composed(
        self, rng: np.random.Generator, index: int, net: tuple[int, int]
    ) -> tuple[Tensor, Objects]:
        options = self.options
        composed = options.augment and (options.mosaic or options.mixup) and rng.random() < 0.5
        if not composed:
            image, objects, _ = self._detection(rng, index, net)
            return image, objects
        if options.mosaic:
            cut = cut_point(rng, *net)
            quarters = [
                self._detection(rng, each, net, number)
                for number, each in enumerate((index, *other_indices(rng, len(self.samples), 3)))
            ]
            image, objects = mosaic(quarters, cut, bound=options.mosaic_bound)
        else:
            first, second = (
                self._detection(rng, each, net)
                for each in (index, *other_indices(rng, len(self.samples), 1))
            )
            image, objects = blend(first.image, second.image), first.objects + second.objects
        return image, objects[: options.max_objects]

    def _detection(
        self,
        rng: np.random.Generator,
        index: int,
        net: tuple[int, int],
        quarter: int | None = None,
    ) -> Quarter:
        sample, options = self.samples[index], self.options
        size = (sample.width, sample.height)
        if not options.augment:
            geometry = plain_geometry(options.letterbox, size, net)
        else:
            geometry = random_geometry(rng, options, size, net)
            if quarter is not None and rng.random() < 0.5:
                geometry = to_corner(geometry, quarter, size)
        objects = self._objects(rng, sample, geometry, net)
        image = geometry.apply(self.read_image(index), net[1], net[0])
        if options.augment:
            image = change_pixels(rng, options, image, objects)
        return Quarter(image, objects, geometry.fill(*size, *net))

    def _objects(
        self, rng: np.random.Generator, sample: Sample, geometry: Geometry, net: tuple[int, int]
    ) -> Objects:
        options = self.options
        objects = Objects.of(sample, difficult=options.difficult, crowd=options.crowd)
        if options.augment:
            objects = objects[rng.permutation(len(objects))]
        known = (objects.class_id >= 0) & (objects.class_id < options.classes)
        if not options.without_box and sample.label is None:
            known &= objects.has_box
        size = (sample.width, sample.height)
        moved = objects[known][: options.max_objects].moved(
            *geometry.affine(*size, *net), geometry.flip
        )
        smallest = options.smallest
        width, height = (1 / side if smallest is None else smallest for side in net)
        return moved.larger_than(width, height)
