"""Training examples with masks: a turned and scaled part of an image, and its objects' pixels.

Source: pjreddie's data.c (load_data_iseg, load_data_mask).
"""

import numpy as np
import torch
from torch import Tensor

from darknet_torch.data.dataset import Array, Sample
from darknet_torch.training.augment import flip, rotate_crop, stretch
from darknet_torch.training.colour import Colour, distort
from darknet_torch.training.examples import Example, ExampleMaker, blur_and_noise
from darknet_torch.training.objects import ImageObjects
from darknet_torch.training.random_transforms import (
    Randomness,
    Rotation,
    random_colour,
    random_rotation,
)

__all__ = ["MaskExamples"]


class MaskExamples(ExampleMaker):
    """Makes the examples of a data set of outlines, see `MakeExample`."""

    def __call__(self, rngs: Randomness, index: int, height: int, width: int) -> Example:
        """Return the example of an image; see `MakeExample`."""
        options, sample, net = self.options, self.samples[index], (width, height)
        size = (sample.width, sample.height)
        if options.augment:
            place = random_rotation(rngs.moves, options, size, net)
            colour = random_colour(rngs.colours, options)
        else:
            scale = min(width / sample.width, height / sample.height)
            place, colour = Rotation(0.0, scale, 0.0, 0.0, 1.0, False), Colour()
        image = _moved(self.read_image(index), place, net)
        objects, masks = self._objects(sample, index, place, net)
        if options.augment and not options.leaves_colour:
            image = distort(image, *colour) if colour != Colour() else image
            image, colour = blur_and_noise(rngs.own, options, image, objects), Colour()
        return Example(image, objects, None, sample.path, colour, masks)

    def _objects(
        self, sample: Sample, index: int, place: Rotation, net: tuple[int, int]
    ) -> tuple[ImageObjects, Tensor]:
        """Return the objects that are in the part, with the boxes of their pixels, and masks."""
        options = self.options
        objects = ImageObjects.of(sample, index, difficult=True, crowd=True)
        truth = sample.ground_truth
        counted = (options.crowd | ~truth.crowd) & (truth.class_id < options.classes)
        kept, boxes, masks = list[int](), list[Array](), list[Tensor]()
        for row in np.flatnonzero(counted & [each is not None for each in truth.outlines]).tolist():
            whole = truth.outlines[row].mask(sample.width, sample.height)
            pixels = torch.from_numpy(np.ascontiguousarray(whole)).to(torch.uint8)[None] * 255
            pixels = _moved(pixels, place, net)
            found = self._mask(pixels, net)
            if found is not None and len(kept) < options.max_objects:
                kept.append(row)
                boxes.append(found[0])
                masks.append(found[1])
        if not kept:
            return objects[:0], torch.zeros(0, *self._mask_size(net))
        chosen = objects[np.array(kept)]
        moved = ImageObjects(
            np.stack(boxes), chosen.class_id, np.ones(len(kept), bool), chosen.object_id
        )
        return moved, torch.stack(masks)

    def _mask_size(self, net: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the masks."""
        masks, stride = self.options.masks, self.options.mask_stride
        assert masks is not None  # else these are no examples with masks
        side = masks.side
        return (net[1] // stride, net[0] // stride) if side is None else (side, side)

    def _mask(self, pixels: Tensor, net: tuple[int, int]) -> tuple[Array, Tensor] | None:
        """Return the box of an object's pixels (1, H, W), in fractions, and its mask, if any.

        As in Darknet a pixel is the object's if any part of it is.
        """
        inside = pixels[0] > 0
        rows, columns = inside.any(dim=1).nonzero()[:, 0], inside.any(dim=0).nonzero()[:, 0]
        if not len(rows):
            return None
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        left, right = int(columns[0]), int(columns[-1]) + 1
        height, width = self._mask_size(net)
        masks = self.options.masks
        part = pixels[:, top:bottom, left:right] if masks and masks.side else pixels
        mask = stretch(part, width, height)[0] / 255
        box = np.array((left, top, right, bottom)) / (net[0], net[1], net[0], net[1])
        return (box, mask) if mask.any() else None


def _moved(image: Tensor, place: Rotation, net: tuple[int, int]) -> Tensor:
    radians, scale, dx, dy, aspect, mirrored = place
    part = rotate_crop(image, radians, scale, *net, dx, dy, aspect)
    return flip(part) if mirrored else part
