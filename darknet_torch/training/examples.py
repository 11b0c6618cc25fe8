"""What every training example is, and what is done to its pixels in their place."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.data.dataset import Array, Sample
from darknet_torch.training.augment_options import AugmentOptions
from darknet_torch.training.colour import Colour
from darknet_torch.training.image_cache import ReadImage
from darknet_torch.training.objects import ImageObjects
from darknet_torch.training.random_transforms import Randomness, random_blur
from darknet_torch.training.unplaced import Unplaced

__all__ = [
    "Example",
    "ExampleMaker",
    "MakeExample",
    "blur",
    "blur_and_noise",
    "other_indices",
    "rows_of",
]

BACKGROUND_WINDOW = 17
"""Pixels of the window that blurs what is not in a box."""


class Example(NamedTuple):
    """One image of a batch.

    Attributes:
        image: (C, H, W) uint8; or how it is to be made of another one.
        objects: in fractions of it; none for classifiers.
        values: (n,) float32, see `Truth.values`; None for detectors.
        path: the file of the image, or of the first of several.
        colour: the change of its colours that is yet to be made.
        masks: (N, h, w) float32, see `Truth.masks`; None where none are needed.
    """

    image: Tensor | Unplaced
    objects: ImageObjects
    values: Tensor | None
    path: Path
    colour: Colour = Colour()
    masks: Tensor | None = None


@dataclass(frozen=True)
class ExampleMaker:
    """What makes examples of a data set; subclasses are `MakeExample`s.

    Args:
        samples: of the data set.
        read_image: yields their images.
        options: of the augmentation.
    """

    samples: Sequence[Sample]
    read_image: ReadImage
    options: AugmentOptions


class MakeExample(Protocol):
    """An index of a data set -> a training example."""

    def __call__(self, rngs: Randomness, index: int, height: int, width: int, /) -> Example:
        """Return the example of an image.

        Args:
            rngs: of all randomness.
            index: of the image.
            height: of the network's input in pixels.
            width: of the network's input in pixels.

        Raises:
            DataError: an image cannot be read.
        """


def blur_and_noise(
    rng: np.random.Generator, options: AugmentOptions, image: Tensor, objects: ImageObjects
) -> Tensor:
    """Blur an image at random and add noise.

    Args:
        rng: of all randomness.
        options: of the augmentation.
        image: (C, H, W) uint8.
        objects: in fractions of it.
    """
    window = random_blur(rng, options)
    if window == 1:
        image = _blurred_around(image, objects)
    elif window:
        image = blur(image, window // 2 * 2 + 1)
    if options.gaussian_noise and rng.random() < 0.5:
        deviation = min(max(options.gaussian_noise, 0), 127)
        noise = torch.from_numpy(rng.normal(0, deviation, tuple(image.shape)))
        image = (image + noise).round_().clamp_(0, 255).to(torch.uint8)
    return image


def blur(image: Tensor, size: int) -> Tensor:
    """Blur an image with a Gaussian window of `size` pixels, odd, as OpenCV's GaussianBlur does."""
    sigma = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    steps = torch.arange(size, dtype=torch.float32) - size // 2
    kernel = (-steps.square() / (2 * sigma * sigma)).exp()
    kernel = (kernel / kernel.sum())[None, None]
    rows = image[:, None].float()
    edge = min(size // 2, *(side - 1 for side in image.shape[1:]))
    rows = F.pad(rows, (edge,) * 4, mode="reflect")
    rest = size // 2 - edge
    rows = F.pad(rows, (rest,) * 4, mode="replicate") if rest else rows
    smooth = F.conv2d(F.conv2d(rows, kernel[:, :, None]), kernel[..., None])[:, 0]
    return smooth.add_(0.5).to(torch.uint8) if image.dtype == torch.uint8 else smooth


def other_indices(rng: np.random.Generator, images: int, count: int) -> list[int]:
    """Return the indices of `count` images, of any of the data set, to compose one with."""
    return [int(each) for each in rng.integers(images, size=count)]


def rows_of(objects: ImageObjects) -> Array:
    """Return the boxes (N, 4) float32, cxcywh; zeros for objects without one."""
    return (objects.cxcywh * objects.has_box[:, None]).astype(np.float32)


def _blurred_around(image: Tensor, objects: ImageObjects) -> Tensor:
    out = blur(image, BACKGROUND_WINDOW)
    height, width = image.shape[1:]
    boxes = objects.xyxy[objects.has_box] * (width, height, width, height)
    for left, top, right, bottom in boxes.round().astype(int).tolist():
        out[:, top:bottom, left:right] = image[:, top:bottom, left:right]
    return out
