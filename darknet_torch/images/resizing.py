"""Darknet's ways to resize an image to the network's input, and boxes back to the image.

    x = letterbox(image, 416, 416)                     # float32 (3, 416, 416) in 0..1
    placement = Placement(768, 576, 416, 416, letterbox=True)
    boxes = placement.to_image(boxes)                  # fractions of the network -> of the image

Source: Darknet's image.c (resize_image, letterbox_image, resize_min, crop_image).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from darknet_torch.errors import UsageError
from darknet_torch.images.bilinear import Taps, column_taps, row_taps, sample

__all__ = [
    "MARGIN",
    "Fit",
    "Placement",
    "center_crop",
    "cropping",
    "fit",
    "letterbox",
    "letterboxing",
    "resize",
    "resize_min",
    "stretching",
]


MARGIN = 0.5
"""Grey beside a letterboxed image."""


class Fit(NamedTuple):
    """How an image becomes the network's input, for an image and an input of given sizes.

    rows: taps of its rows, in those of the image.
    columns: taps of its columns.
    top: rows of the margin above.
    left: columns of the margin on the left.
    height: of the input, in pixels.
    width: of the input.
    """

    rows: Taps
    columns: Taps
    top: int
    left: int
    height: int
    width: int

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """Return the input, (C, height, width) float32 in 0..1, on the image's device.

        Args:
            image: (C, H, W) uint8, or float in 0..1.
        """
        bottom, right = self.top + len(self.rows.position), self.left + len(self.columns.position)
        out = image.new_empty(image.shape[0], self.height, self.width, dtype=torch.float32)
        if (bottom - self.top, right - self.left) != (self.height, self.width):
            out.fill_(MARGIN)
        sample(image, self.rows, self.columns, out[:, self.top : bottom, self.left : right])
        return out


def resize(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Resize an image, bilinear between aligned corners, without antialiasing (`resize_image`).

    The last column is the last one of the image. The last row may be darker, or black: Darknet
    leaves out a part of it, see `bilinear.last_row`.

    Args:
        image: (C, H, W) uint8, or float in 0..1.
        width: in pixels.
        height: in pixels.

    Returns:
        (C, height, width) float32 in 0..1, on the same device.

    Raises:
        UsageError: width or height is below 1.
    """
    return stretching(image.shape[2], image.shape[1], width, height).apply(image)


def letterbox(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Like `resize`, but keep the aspect ratio; the margins are grey (0.5), half on either side.

    Source: Darknet's `letterbox_image`.
    """
    return letterboxing(image.shape[2], image.shape[1], width, height).apply(image)


def stretching(image_w: int, image_h: int, width: int, height: int) -> Fit:
    """Return how `resize` brings an image of image_w x image_h pixels to width x height."""
    _check_size(width, height)
    return Fit(row_taps(image_h, height), column_taps(image_w, width), 0, 0, height, width)


def letterboxing(image_w: int, image_h: int, width: int, height: int) -> Fit:
    """Return how `letterbox` brings an image of image_w x image_h pixels to width x height."""
    _check_size(width, height)
    new_w, new_h = fit(image_w, image_h, width, height)
    rows, columns = row_taps(image_h, new_h), column_taps(image_w, new_w)
    return Fit(rows, columns, (height - new_h) // 2, (width - new_w) // 2, height, width)


@lru_cache(maxsize=256)
def cropping(image_w: int, image_h: int, width: int, height: int) -> Fit:
    """Return how AlexeyAB's classifiers bring an image to width x height.

    The shorter side is fitted to `width` (`resize_min`), then the centre is cut out
    (`center_crop`).
    """
    _check_size(width, height)
    new_w, new_h = _shorter_side(image_w, image_h, width)
    rows = row_taps(image_h, new_h).at(_middle(new_h, height))
    columns = column_taps(image_w, new_w).at(_middle(new_w, width))
    return Fit(rows, columns, 0, 0, height, width)


def fit(w: int, h: int, width: int, height: int) -> tuple[int, int]:
    """Return the size (new_w, new_h) at which an image of w x h pixels fits into width x height.

    Truncated to whole pixels and compared in float32, as in Darknet. Of a very thin image one
    pixel is left, where Darknet leaves none and then divides by zero.
    """
    if np.float32(width) / np.float32(w) < np.float32(height) / np.float32(h):
        return width, max(1, h * width // w)
    return max(1, w * height // h), height


def resize_min(image: torch.Tensor, size: int) -> torch.Tensor:
    """Resize so that the shorter side has `size` pixels; return float32 (C, h, w) in 0..1."""
    return resize(image, *_shorter_side(image.shape[2], image.shape[1], size))


def center_crop(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Return the centre of an image, (C, height, width); beyond its edges the last pixels repeat.

    The input of AlexeyAB's classifiers is `center_crop(resize_min(image, width), width, height)`.
    """
    _check_size(width, height)
    rows = _middle(image.shape[1], height).to(image.device)
    columns = _middle(image.shape[2], width).to(image.device)
    return image[:, rows][:, :, columns]


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the network's input: stretched over all of it, or letterboxed.

    image_w, image_h, net_w, net_h: in pixels.
    """

    image_w: int
    image_h: int
    net_w: int
    net_h: int
    letterbox: bool

    def affine(self) -> tuple[float, float, float, float]:
        """Return (sx, ox, sy, oy): x' = x * sx + ox, y' = y * sy + oy, w' = w * sx, h' = h * sy.

        From fractions of the network's input to fractions of the image (`correct_yolo_boxes`).
        The margin is half the difference, not truncated, although the paste position was.
        """
        if not self.letterbox:
            return 1.0, 0.0, 1.0, 0.0
        new_w, new_h = fit(self.image_w, self.image_h, self.net_w, self.net_h)
        margin_x, margin_y = (self.net_w - new_w) / 2, (self.net_h - new_h) / 2
        return self.net_w / new_w, -margin_x / new_w, self.net_h / new_h, -margin_y / new_h

    def to_image(self, boxes: torch.Tensor) -> torch.Tensor:
        """Map boxes (..., 4) cxcywh from fractions of the network's input to those of the image."""
        sx, ox, sy, oy = self.affine()
        return boxes * boxes.new_tensor((sx, sy, sx, sy)) + boxes.new_tensor((ox, oy, 0, 0))


def _shorter_side(w: int, h: int, size: int) -> tuple[int, int]:
    """Return (width, height) with the shorter side of `size` pixels."""
    return (size, h * size // w) if w < h else (w * size // h, size)


def _middle(old: int, new: int) -> torch.Tensor:
    start = int((old - new) / 2)  # C's division: towards zero
    return torch.arange(start, start + new).clamp(0, old - 1)


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise UsageError(f"an image of {width}x{height} pixels: both sides must be at least 1")
