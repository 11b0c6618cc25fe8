"""Darknet's operations of data augmentation on one image, without randomness.

Every operation takes an image (C, H, W). A float image in 0..1 gives what Darknet computes, as
float32; a uint8 image, which is many times faster, gives uint8 that differ by one level at most.

Source: Darknet's image.c (crop_image, place_image, rotate_crop_image, flip_image).
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.images.bilinear import last_row
from darknet_torch.images.resizing import resize

__all__ = [
    "GREY_LEVEL",
    "Geometry",
    "flip",
    "mean_colour",
    "place",
    "rotate_crop",
    "span",
    "stretch",
    "window",
]

GREY = 0.5
"""Value of what no pixel of the image covers."""
GREY_LEVEL = round(GREY * 255 + 0.1)
"""The same of uint8 images."""
MEAN_STEP = 4
"""The mean colour is that of every fourth pixel of every fourth row."""


class Geometry(NamedTuple):
    """Which part of an image lies where in the network's input.

    Attributes:
        window: (left, top, width, height) of the part, in pixels of the image; it may reach beyond.
        target: (left, top, width, height) of its place, in pixels of the input; around it is grey.
        flip: whether the input is mirrored afterwards.
        aligned: as in `resize`, corners lie on corners; else as in `place`.
        mean: see `window`.
    """

    window: tuple[int, int, int, int]
    target: tuple[float, float, float, float]
    flip: bool = False
    aligned: bool = True
    mean: bool = False

    def apply(self, image: Tensor, height: int, width: int) -> Tensor:
        """Return the network's input (C, height, width) of an image (C, H, W)."""
        left, top, across, down = (int(each) for each in self.target)
        part = window(image, *self.window, mean=self.mean)
        scaled = (stretch if self.aligned else place)(part, max(across, 1), max(down, 1))
        if (left, top, *scaled.shape[1:]) != (0, 0, height, width):
            scaled = _on_canvas(scaled, left, top, height, width)
        return flip(scaled) if self.flip else scaled

    def affine(
        self, image_w: int, image_h: int, net_w: int, net_h: int
    ) -> tuple[float, float, float, float]:
        """Return (sx, ox, sy, oy) before the flip: x' = x * sx + ox, w' = w * sx, y and h alike.

        From fractions of the image to fractions of the network's input.
        """
        left, top, across, down = self.window
        to_left, to_top, to_across, to_down = self.target
        sx, sy = to_across / across / net_w, to_down / down / net_h
        return sx * image_w, to_left / net_w - left * sx, sy * image_h, to_top / net_h - top * sy

    def fill(self, image_w: int, image_h: int, net_w: int, net_h: int) -> tuple[int, int, int, int]:
        """Return the pixels at the (left, top, right, bottom) that the image does not cover."""
        sx, ox, sy, oy = self.affine(image_w, image_h, net_w, net_h)
        left, right = int(max(ox, 0) * net_w), int(max(1 - ox - sx, 0) * net_w)
        top, bottom = int(max(oy, 0) * net_h), int(max(1 - oy - sy, 0) * net_h)
        return (right, top, left, bottom) if self.flip else (left, top, right, bottom)


def window(
    image: Tensor, left: int, top: int, width: int, height: int, *, mean: bool = False
) -> Tensor:
    """Return a part of an image, (C, height, width), which may reach beyond it.

    Args:
        image: (C, H, W).
        left: first column.
        top: first row.
        width: of the part.
        height: of the part.
        mean: what lies beyond has the mean colour of the part of the image, as in AlexeyAB's
            program with OpenCV; else the last pixels repeat.
    """
    rows, before_y, after_y = span(top, height, image.shape[1])
    columns, before_x, after_x = span(left, width, image.shape[2])
    part = image[:, rows, columns]
    if not (before_x or after_x or before_y or after_y):
        return part
    pixels = _by_pixel(part)
    if not mean:
        margins = ((before_y, after_y), (before_x, after_x), (0, 0))
        return _by_channel(np.pad(pixels, margins, mode="edge"))
    line = np.tile(mean_colour(pixels), width)
    whole = np.tile(line, (height, 1)).reshape(height, width, -1)  # row by row
    whole[before_y : height - after_y, before_x : width - after_x] = pixels
    return _by_channel(whole)


def mean_colour(pixels: np.ndarray) -> np.ndarray:
    """Return the mean colour (C,) of pixels (H, W, C), in their type."""
    some = pixels[::MEAN_STEP, ::MEAN_STEP]
    # one channel after the other, which is six times as fast as `mean(axis=(0, 1))`
    means = [some[:, :, channel].mean() for channel in range(some.shape[2])]
    return np.array(means).astype(pixels.dtype)


def stretch(image: Tensor, width: int, height: int) -> Tensor:
    """Resize an image as `images.resizing.resize` does, but keep uint8 as uint8."""
    if image.dtype != torch.uint8:
        return resize(image, width, height)
    scaled = _interpolated(image, width, height)
    _, weight = last_row(image.shape[1], height)
    if weight < 1:
        scaled[:, -1] = (scaled[:, -1] * weight).to(torch.uint8)
    return scaled


def place(image: Tensor, width: int, height: int) -> Tensor:
    """Resize an image as `place_image` of pjreddie's fork does.

    Pixel x comes from position `x / width * W`, where what lies behind the last pixel is black.
    """
    if image.dtype == torch.uint8:
        # the same positions, with the black row and column as the aligned corner
        pixels = _by_channel(np.pad(_by_pixel(image), ((0, 1), (0, 1), (0, 0))))
        return _interpolated(pixels, width + 1, height + 1)[:, :-1, :-1]
    padded = F.pad(image, (0, 1, 0, 1))
    x, across = _positions(width, image.shape[2], image.device)
    y, down = _positions(height, image.shape[1], image.device)
    left = torch.lerp(padded[:, y][:, :, x], padded[:, y + 1][:, :, x], down[:, None])
    right = torch.lerp(padded[:, y][:, :, x + 1], padded[:, y + 1][:, :, x + 1], down[:, None])
    return torch.lerp(left, right, across)


def rotate_crop(
    image: Tensor,
    radians: float,
    scale: float,
    width: int,
    height: int,
    dx: float = 0.0,
    dy: float = 0.0,
    aspect: float = 1.0,
) -> Tensor:
    """Return a turned and scaled part of an image; outside of the image it is black.

    Args:
        image: (C, H, W).
        radians: angle.
        scale: pixels of the result for one of the image.
        width: of the result.
        height: of the result.
        dx: how far the part lies right of the middle, in pixels of the result.
        dy: how far below.
        aspect: how many times more the image is compressed across.
    """
    exact = image.dtype != torch.uint8
    c_scale, c_aspect, c_dx, c_dy = (np.float32(each) for each in (scale, aspect, dx, dy))
    scale, aspect = float(c_scale), float(c_aspect)
    kind = torch.float64 if exact else torch.float32
    x = (torch.arange(width, dtype=kind) - width / 2) / scale * aspect
    y = ((torch.arange(height, dtype=kind) - height / 2) / scale)[:, None]
    x, y = x + float(c_dx / c_scale * c_aspect), y + float(c_dy / c_scale)
    cos, sin = math.cos(np.float32(radians)), math.sin(np.float32(radians))
    across = cos * x - sin * y + image.shape[2] // 2
    down = sin * x + cos * y + image.shape[1] // 2
    if exact:  # Darknet's positions are float32
        across, down = across.float().to(kind), down.float().to(kind)
    sizes = (max(image.shape[2] - 1, 1), max(image.shape[1] - 1, 1))
    grid = torch.stack((2 * across / sizes[0] - 1, 2 * down / sizes[1] - 1), dim=-1)
    turned = F.grid_sample(image[None].to(kind), grid[None], align_corners=True)[0]
    return turned.float() if exact else turned.add_(0.5).to(torch.uint8)


def flip(image: Tensor) -> Tensor:
    """Mirror images (..., H, W) left to right."""
    return image.flip(-1)


def span(start: int, length: int, size: int) -> tuple[slice, int, int]:
    """Return the pixels of 0..size that a span covers, and how many lie before and behind."""
    first = min(max(start, 0), size - 1)
    end = max(min(start + length, size), first + 1)
    before = min(max(-start, 0), length - 1)
    return slice(first, end), before, length - before - (end - first)


def _positions(new: int, old: int, device: torch.device) -> tuple[Tensor, Tensor]:
    position = torch.arange(new, dtype=torch.float32, device=device) / new * old
    pixel = position.long()
    return pixel, position - pixel


def _interpolated(image: Tensor, width: int, height: int) -> Tensor:
    size = (height, width)
    return F.interpolate(image[None], size, mode="bilinear", align_corners=True)[0]


def _on_canvas(image: Tensor, left: int, top: int, height: int, width: int) -> Tensor:
    fill = GREY_LEVEL if image.dtype == torch.uint8 else GREY
    canvas = torch.full((image.shape[0], height, width), fill, dtype=image.dtype)
    rows = slice(max(top, 0), max(min(top + image.shape[1], height), 0))
    columns = slice(max(left, 0), max(min(left + image.shape[2], width), 0))
    canvas[:, rows, columns] = image[
        :, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    return canvas


def _by_pixel(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def _by_channel(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)
