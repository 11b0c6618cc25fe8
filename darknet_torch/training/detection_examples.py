"""Training examples of detectors: an augmented image, or several in one, and its objects."""

import numpy as np
from torch import Tensor

from darknet_torch.training.augment import Geometry
from darknet_torch.training.colour import Colour
from darknet_torch.training.examples import Example, ExampleMaker, blur_and_noise, other_indices
from darknet_torch.training.image_cache import kept_image
from darknet_torch.training.mosaic import Placed, blend, cut_point, mosaic, to_corner
from darknet_torch.training.objects import ImageObjects
from darknet_torch.training.random_transforms import (
    Randomness,
    plain_geometry,
    random_colour,
    random_geometry,
)
from darknet_torch.training.unplaced import Unplaced

__all__ = ["DetectionExamples"]


class DetectionExamples(ExampleMaker):
    """Makes the examples of a data set of boxes, see `MakeExample`."""

    def __call__(self, rngs: Randomness, index: int, height: int, width: int) -> Example:
        """Return the example of an image; see `MakeExample`."""
        image, objects, colour = self._composed(rngs, index, (width, height))
        return Example(image, objects, None, self.samples[index].path, colour)

    def _composed(
        self, rngs: Randomness, index: int, net: tuple[int, int]
    ) -> tuple[Tensor | Unplaced, ImageObjects, Colour]:
        options, rng = self.options, rngs.own
        # Of an image with a class only, that class is all that is known.
        alone = rng.random() >= 0.5 or self.samples[index].label is not None
        is_single = alone or not (options.mosaic or options.mixup) or not options.augment
        if is_single and options.leaves_place:
            geometry, objects, colour = self._drawn(rngs, index, net)
            return self._unplaced(index, geometry, net).if_worthwhile(), objects, colour
        if is_single:
            placed = self._placed(rngs, index, net)
            if options.leaves_colour or not options.augment:
                return placed.image, placed.objects, placed.colour
            image, objects = placed.pixels(), placed.objects
        elif options.mosaic:
            indices = (index, *other_indices(rng, len(self.samples), 3))
            quarters = [self._placed(rngs, each, net, i) for i, each in enumerate(indices)]
            image, objects = mosaic(quarters, cut_point(rng, *net), bound=options.mosaic_bound)
        else:
            (partner,) = other_indices(rng, len(self.samples), 1)
            first, second = (self._placed(rngs, each, net) for each in (index, partner))
            image = blend(first.pixels(), second.pixels())
            objects = first.objects + second.objects
        image = blur_and_noise(rng, options, image, objects)
        return image, objects[: options.max_objects], Colour()

    def _placed(
        self,
        rngs: Randomness,
        index: int,
        net: tuple[int, int],
        quarter: int | None = None,
    ) -> Placed:
        geometry, objects, colour = self._drawn(rngs, index, net, quarter)
        image = self._unplaced(index, geometry, net).now()
        sample = self.samples[index]
        return Placed(image, objects, geometry.fill(sample.width, sample.height, *net), colour)

    def _unplaced(self, index: int, geometry: Geometry, net: tuple[int, int]) -> Unplaced:
        kept = kept_image(self.read_image, index)
        return Unplaced(self.read_image(index), geometry, (net[1], net[0]), kept)

    def _drawn(
        self,
        rngs: Randomness,
        index: int,
        net: tuple[int, int],
        quarter: int | None = None,
    ) -> tuple[Geometry, ImageObjects, Colour]:
        """Draw where an image lies, with its objects and the change of its colours."""
        sample, options, rng = self.samples[index], self.options, rngs.own
        size, colour = (sample.width, sample.height), Colour()
        if not options.augment:
            geometry = plain_geometry(options.letterbox, size, net)
        else:
            geometry = random_geometry(rngs, options, size, net)
            if quarter is not None and rng.random() < 0.5:
                geometry = to_corner(geometry, quarter, size)
            colour = random_colour(rngs.colours, options)
        return geometry, self._objects(rng, index, geometry, net), colour

    def _objects(
        self, rng: np.random.Generator, index: int, geometry: Geometry, net: tuple[int, int]
    ) -> ImageObjects:
        options, sample = self.options, self.samples[index]
        objects = ImageObjects.of(sample, index, difficult=options.difficult, crowd=options.crowd)
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
