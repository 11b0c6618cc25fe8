"""Darknet's ways to resize an image to the network's input, and boxes back to the image.

    x = letterbox(image, 416, 416)                     # float32 (3, 416, 416) in 0..1
    placement = Placement(768, 576, 416, 416, letterbox=True)
    boxes = placement.to_image(boxes)                  # fractions of the network -> of the image

Source: Darknet's image.c (resize_image, letterbox_image, resize_min, crop_image).
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from darknet_torch.errors import UsageError

__all__ = ["Placement", "center_crop", "fit", "last_row", "letterbox", "resize", "resize_min"]


def resize(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Resize an image, bilinear between aligned corners, without antialiasing (`resize_image`).

    The last column is the last one of the image. For the last row Darknet rounds the position to
    float32 and leaves out the second of the two rows to mix; where the position falls just short
    (448 rows to 416), the row is black.

    Args:
        image: (C, H, W) uint8, or float in 0..1.
        width: in pixels.
        height: in pixels.

    Returns:
        (C, height, width) float32 in 0..1, on the same device.

    Raises:
        UsageError: width or height is below 1.
    """
    _check_size(width, height)
    out = _stretch(image, width, height)
    row, weight = last_row(image.shape[1], height)
    out[:, -1:] = weight * _stretch(image[:, row : row + 1], width, 1)
    return out


def letterbox(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Like `resize`, but keep the aspect ratio; the margins are grey (0.5), half on either side.

    Source: Darknet's `letterbox_image`.
    """
    _check_size(width, height)
    new_w, new_h = fit(image.shape[2], image.shape[1], width, height)
    left, top = (width - new_w) // 2, (height - new_h) // 2
    margins = (left, width - new_w - left, top, height - new_h - top)
    return F.pad(resize(image, new_w, new_h), margins, value=0.5)


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
    h, w = image.shape[1:]
    return resize(image, size, h * size // w) if w < h else resize(image, w * size // h, size)


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


def _stretch(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    out = _bilinear(image, width, height)
    out[:, :, -1:] = _bilinear(image[:, :, -1:], 1, height)
    return out


def _bilinear(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    # Most rows of a tall image are not used, and converting them to float costs the most.
    picked = _mix_rows(image, height) if image.shape[1] > 4 * height else image.float()
    out = F.interpolate(picked[None], (height, width), mode="bilinear", align_corners=True)[0]
    return out if image.is_floating_point() else out.div_(255)


def _mix_rows(image: torch.Tensor, height: int) -> torch.Tensor:
    last = image.shape[1] - 1
    scale = float(np.float32(last) / np.float32(max(height - 1, 1)))
    position = torch.arange(height, dtype=torch.float32, device=image.device) * scale
    upper = position.long()
    lower = (upper + 1).clamp(max=last)
    rows = image.movedim(1, 0)
    mixed = torch.lerp(rows[upper].float(), rows[lower].float(), (position - upper)[:, None, None])
    return mixed.movedim(0, 1)


def last_row(old: int, new: int) -> tuple[int, float]:
    """Return the row of `old` that becomes the last of `new` rows, and its factor; see `resize`."""
    if new == 1:
        return old - 1, 1.0
    position = np.float32(new - 1) * (np.float32(old - 1) / np.float32(new - 1))
    return int(position), float(np.float32(1) - (position - np.float32(int(position))))


def _middle(old: int, new: int) -> torch.Tensor:
    start = int((old - new) / 2)  # C's division: towards zero
    return torch.arange(start, start + new).clamp(0, old - 1)


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise UsageError(f"an image of {width}x{height} pixels: both sides must be at least 1")
