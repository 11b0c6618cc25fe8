"""The random parameters of Darknet's data augmentation: drawn from a generator, not applied.

Source: Darknet's data.c (load_data_detection, load_data_region, random_augment_image).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from darknet_torch.images.resizing import fit
from darknet_torch.training.augment import Geometry
from darknet_torch.training.augment_options import AugmentOptions
from darknet_torch.training.colour import Colour

__all__ = [
    "Randomness",
    "Rotation",
    "plain_geometry",
    "random_blur",
    "random_colour",
    "random_geometry",
    "random_rotation",
    "random_scale",
]


class Randomness(NamedTuple):
    """The generators of an example; they are one, unless examples come in pairs that share some.

    Attributes:
        own: of all that the two of a pair do not share.
        moves: of jitter, rotation and mirroring.
        colours: of changes of colour.
    """

    own: np.random.Generator
    moves: np.random.Generator
    colours: np.random.Generator

    @classmethod
    def of(
        cls, seed: Sequence[int], position: int, *, paired: bool, moves: bool, colours: bool
    ) -> Self:
        """Return the generators of an example.

        Args:
            seed: of the batch.
            position: of the example in the batch.
            paired: whether it shares some with the other one of its pair.
            moves: whether it has its own moves all the same.
            colours: whether it has its own colours.
        """
        own = np.random.default_rng((*seed, position))
        if not paired:
            return cls(own, own, own)
        first = position - position % 2
        of_pair = [np.random.default_rng((*seed, first, number)) for number in (1, 2)]
        return cls(own, own if moves else of_pair[0], own if colours else of_pair[1])


class Rotation(NamedTuple):
    """Arguments of `augment.rotate_crop`, and whether the result is mirrored."""

    radians: float
    scale: float
    dx: float
    dy: float
    aspect: float
    flip: bool


def random_scale(rng: np.random.Generator, most: float) -> float:
    """Return a factor from 1 to `most`, or the inverse of one."""
    factor = _between(rng, 1, most)
    return float(factor if rng.random() < 0.5 else 1 / factor)


def random_colour(rng: np.random.Generator, options: AugmentOptions) -> Colour:
    """Return a change of colour; none where there is no colour."""
    if options.channels != 3:
        return Colour()
    return Colour(
        _between(rng, -options.hue, options.hue),
        random_scale(rng, options.saturation),
        random_scale(rng, options.exposure),
    )


def random_geometry(
    rngs: Randomness, options: AugmentOptions, image: tuple[int, int], net: tuple[int, int]
) -> Geometry:
    """Return where an image lies in the network's input.

    Args:
        rngs: the generators.
        options: of the augmentation.
        image: (width, height) in pixels.
        net: (width, height) of the network's input in pixels.
    """
    if options.canvas:
        return _on_canvas(rngs.moves, options, image, net)
    return _cropped(rngs, options, image, net)


def plain_geometry(letterbox: bool, image: tuple[int, int], net: tuple[int, int]) -> Geometry:
    """Return where an image lies in a detector's input: letterboxed, or all over it."""
    if not letterbox:
        return Geometry((0, 0, *image), (0, 0, *net))
    width, height = fit(*image, *net)
    left, top = (net[0] - width) // 2, (net[1] - height) // 2
    return Geometry((0, 0, *image), (left, top, width, height))


def _on_canvas(
    rng: np.random.Generator, options: AugmentOptions, image: tuple[int, int], net: tuple[int, int]
) -> Geometry:
    (w, h), (across, down) = image, net
    dw, dh = options.jitter * w, options.jitter * h
    ratio = _positive(w + _between(rng, -dw, dw)) / _positive(h + _between(rng, -dh, dh))
    width, height = (down * ratio, float(down)) if ratio < 1 else (float(across), across / ratio)
    left, top = _between(rng, 0, across - width), _between(rng, 0, down - height)
    return Geometry(
        (0, 0, w, h), (left, top, width, height), flip=_flip(rng, options), aligned=False
    )


def _cropped(
    rngs: Randomness, options: AugmentOptions, image: tuple[int, int], net: tuple[int, int]
) -> Geometry:
    (w, h), rng = image, rngs.moves
    jitter = np.array([_between(rng, -options.jitter, options.jitter) for _ in range(4)]) * (
        w,
        w,
        h,
        h,
    )
    left, right, top, bottom = (int(each) for each in jitter)
    if options.resize != 1:
        smaller = min(options.resize, 1 / options.resize)
        lowest = (1 - 1 / smaller) / 2
        highest = (1 - smaller) / 2 if options.resize > 1 else 0.0
        first, second = (_between(rngs.own, lowest, highest) for _ in range(2))
        left, right = left + int(w * first), right + int(w * second)
        top, bottom = top + int(h * first), bottom + int(h * second)
    if options.keep_aspect:
        more_x, more_y = _lacking(image, net)
        left, right, top, bottom = left - more_x, right - more_x, top - more_y, bottom - more_y
    window = (left, top, max(w - left - right, 1), max(h - top - bottom, 1))
    return Geometry(window, (0, 0, *net), flip=_flip(rng, options), mean=options.mean_border)


def _lacking(image: tuple[int, int], net: tuple[int, int]) -> tuple[int, int]:
    """Pixels at each side of an image to the aspect ratio of the network's input."""
    ratio = net[0] / net[1]
    if image[0] / image[1] > ratio:
        return 0, int((image[0] / ratio - image[1]) / 2)
    return int((image[1] * ratio - image[0]) / 2), 0


def random_rotation(
    rng: np.random.Generator, options: AugmentOptions, image: tuple[int, int], net: tuple[int, int]
) -> Rotation:
    """Return a part of an image for a classifier; arguments as in `random_geometry`."""
    (w, h), (across, down) = image, net
    aspect = random_scale(rng, options.aspect)
    lowest, highest = int(options.min_crop * across), int(options.max_crop * across)
    side = max(int(_between(rng, lowest, highest + 1)), 1)
    scale = side / min(h, w * aspect)
    radians = math.radians(_between(rng, -options.angle, options.angle))
    spare_x = max((w * scale / aspect - across) / 2, 0)
    spare_y = max((h * scale - down) / 2, 0)
    dx, dy = _between(rng, -spare_x, spare_x), _between(rng, -spare_y, spare_y)
    return Rotation(radians, scale, dx, dy, aspect, _flip(rng, options))


def random_blur(rng: np.random.Generator, options: AugmentOptions) -> int:
    """Return 0 for none, 1 to blur what is not in a box, or the window for the whole image."""
    return (0, 1, options.blur)[rng.integers(3)] if options.blur else 0


def _between(rng: np.random.Generator, one: float, other: float) -> float:
    """Return a number between two, whichever is the larger (`rand_uniform`)."""
    return float(rng.uniform(min(one, other), max(one, other)))


def _flip(rng: np.random.Generator, options: AugmentOptions) -> bool:
    return bool(rng.random() < 0.5) and options.flip


def _positive(side: float) -> float:
    return max(float(side), 1.0)
