"""Pictures: read from anywhere, brought to the network's size as Darknet does, and the way back.

    picture = read("dog.jpg")                          # uint8 (3, 576, 768)
    x = letterbox(picture, 416, 416)                   # float32 (3, 416, 416) in 0..1
    place = Placement(768, 576, 416, 416, letterbox=True)
    boxes = place.to_image(boxes)                      # fractions of the network -> of the picture

Resizing follows Darknet's image.c: resize_image, letterbox_image, resize_min, crop_image.
"""

import os
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError

from darknet_torch.errors import ImageError, UsageError

__all__ = ["Placement", "Source", "center_crop", "fit", "letterbox", "read", "resize", "resize_min"]

Array = np.ndarray[Any, Any]
Source = str | os.PathLike[str] | bytes | bytearray | BinaryIO | Image.Image | Array | torch.Tensor

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read(source: Source, channels: int = 3) -> torch.Tensor:
    """A picture as (channels, H, W), RGB, uint8; float tensors and arrays in 0..1 stay float32.

    `source` is a path, the bytes of a file, an open binary file, a PIL image, a numpy array
    (H, W, C) or (H, W), or a tensor (C, H, W). Photographs are turned as their EXIF note says,
    transparency is dropped, of 16 bits the upper 8 are kept, of an animation the first frame.
    `channels=1` gives the grey of stb_image: (77 R + 150 G + 29 B) / 256.

    Raises ImageError: not there, not a picture, damaged, empty, or more pixels than
    `PIL.Image.MAX_IMAGE_PIXELS` (a small file can unpack to gigabytes).
    """
    name = _name(source)
    if isinstance(source, torch.Tensor):
        image = _from_tensor(source, name)
    elif isinstance(source, np.ndarray):
        image = _from_array(source, name)
    else:
        image = _from_pillow(source, name)
    if image.numel() == 0:
        raise ImageError(f"{name}: a picture without pixels: {list(image.shape)}")
    return _with_channels(image, channels, name)


def resize(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """(C, H, W) uint8 or 0..1 -> float32 (C, height, width) in 0..1, on the same device.

    Bilinear between aligned corners, without smoothing. The last column is the last one of the
    picture. For the last row Darknet rounds the position to float32 and leaves out the second of
    the two rows to mix; where the position falls just short (448 rows to 416), the row is black.
    """
    _check_size(width, height)
    out = _stretch(image, width, height)
    row, weight = _last_row(image.shape[1], height)
    out[:, -1:] = weight * _stretch(image[:, row : row + 1], width, 1)
    return out


def letterbox(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Like `resize`, but the aspect ratio stays; the rest is grey (0.5), half on either side."""
    _check_size(width, height)
    new_w, new_h = fit(image.shape[2], image.shape[1], width, height)
    left, top = (width - new_w) // 2, (height - new_h) // 2
    margins = (left, width - new_w - left, top, height - new_h - top)
    return F.pad(resize(image, new_w, new_h), margins, value=0.5)


def fit(w: int, h: int, width: int, height: int) -> tuple[int, int]:
    """The size (new_w, new_h) at which a picture of w x h pixels fits into width x height.

    Truncated to whole pixels and compared in float32, as in Darknet. Of a very thin picture one
    pixel is left, where Darknet leaves none and then divides by zero.
    """
    if np.float32(width) / np.float32(w) < np.float32(height) / np.float32(h):
        return width, max(1, h * width // w)
    return max(1, w * height // h), height


def resize_min(image: torch.Tensor, size: int) -> torch.Tensor:
    """Resized so that the shorter side has `size` pixels: float32 (C, h, w) in 0..1."""
    h, w = image.shape[1:]
    return resize(image, size, h * size // w) if w < h else resize(image, w * size // h, size)


def center_crop(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """The middle of a picture, (C, height, width); past its edges the outermost pixels repeat.

    Classifiers of AlexeyAB see `center_crop(resize_min(image, width), width, height)`.
    """
    _check_size(width, height)
    rows = _middle(image.shape[1], height).to(image.device)
    columns = _middle(image.shape[2], width).to(image.device)
    return image[:, rows][:, :, columns]


@dataclass(frozen=True)
class Placement:
    """How a picture lies in the network's input: stretched over it, or letterboxed. In pixels."""

    image_w: int
    image_h: int
    net_w: int
    net_h: int
    letterbox: bool

    def affine(self) -> tuple[float, float, float, float]:
        """(sx, ox, sy, oy): x' = x * sx + ox, y' = y * sy + oy, w' = w * sx, h' = h * sy.

        From fractions of the network's input to fractions of the picture (`correct_yolo_boxes`).
        The margin is half the difference, not truncated, although the paste position was.
        """
        if not self.letterbox:
            return 1.0, 0.0, 1.0, 0.0
        new_w, new_h = fit(self.image_w, self.image_h, self.net_w, self.net_h)
        margin_x, margin_y = (self.net_w - new_w) / 2, (self.net_h - new_h) / 2
        return self.net_w / new_w, -margin_x / new_w, self.net_h / new_h, -margin_y / new_h

    def to_image(self, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes (..., 4) cxcywh, fractions of the network's input -> fractions of the picture."""
        sx, ox, sy, oy = self.affine()
        return boxes * boxes.new_tensor((sx, sy, sx, sy)) + boxes.new_tensor((ox, oy, 0, 0))


# ---- resizing


def _stretch(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    out = _bilinear(image, width, height)
    out[:, :, -1:] = _bilinear(image[:, :, -1:], 1, height)
    return out


def _bilinear(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    # Most rows of a tall picture are not looked at; to turn them into floats costs the most.
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


def _last_row(old: int, new: int) -> tuple[int, float]:
    """Which row of `old` becomes the last of `new` rows, and by what it is multiplied."""
    if new == 1:
        return old - 1, 1.0
    position = np.float32(new - 1) * (np.float32(old - 1) / np.float32(new - 1))
    return int(position), float(np.float32(1) - (position - np.float32(int(position))))


def _middle(old: int, new: int) -> torch.Tensor:
    start = int((old - new) / 2)  # C's division: towards zero
    return torch.arange(start, start + new).clamp(0, old - 1)


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise UsageError(f"a picture of {width}x{height} pixels: both sides must be at least 1")


# ---- reading


def _name(source: Source) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return name if isinstance(name, str) and name else f"<{type(source).__name__}>"


def _from_pillow(source: Any, name: str) -> torch.Tensor:
    known = isinstance(source, str | os.PathLike | bytes | bytearray | Image.Image)
    if not known and not hasattr(source, "read"):
        raise UsageError(f"a picture is a path, bytes, file, image, array or tensor, not {name}")
    try:
        if isinstance(source, Image.Image):
            return _from_array(_pixels(source), name)
        with _open(source) as picture:
            return _from_array(_pixels(picture), name)
    except Exception as error:  # a damaged file makes a decoder raise nearly anything
        raise ImageError(f"{name}: {_reason(error)}") from error


def _open(source: str | os.PathLike[str] | bytes | bytearray | BinaryIO) -> Image.Image:
    picture = Image.open(BytesIO(source) if isinstance(source, bytes | bytearray) else source)
    limit = Image.MAX_IMAGE_PIXELS
    # Pillow itself refuses from twice the limit on, and only warns below that.
    if limit is not None and picture.width * picture.height > limit:
        picture.close()
        size = f"{picture.width}x{picture.height}"
        raise ValueError(f"{size} pixels are more than PIL.Image.MAX_IMAGE_PIXELS ({limit})")
    return picture


def _pixels(picture: Image.Image) -> Array:
    """(H, W, 3) or (H, W), uint8."""
    picture.load()  # first, because of TIFF: Pillow turns it while loading
    orientation = picture.getexif().get(_ORIENTATION)
    if orientation in _TURNS:
        picture = picture.transpose(_TURNS[orientation])
    if picture.mode.startswith(("I", "F")):
        return _upper_bits(np.asarray(picture))
    if picture.mode == "P":  # straight to RGB, Pillow warns about the transparency it drops
        picture = picture.convert("RGBA")
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _upper_bits(grey: Array) -> Array:
    """Any grey values -> uint8. Integers above 255 are 16-bit values, floats up to 1 fractions."""
    if grey.dtype.kind == "f":
        grey = np.nan_to_num(grey)
        grey = grey * 255 if grey.max(initial=0) <= 1 else grey
    elif grey.dtype.itemsize == 2 or grey.max(initial=0) > 255:
        grey = grey >> 8
    return grey.clip(0, 255).astype(np.uint8)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "empty, or not a picture that Pillow can read"
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)


def _from_array(array: Array, name: str) -> torch.Tensor:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        array = _upper_bits(array)
    # Copied: the source may be read-only, run backwards, or change later.
    if array.ndim == 3 and array.dtype.kind == "f":
        return torch.from_numpy(array.astype(np.float32, order="C")).permute(2, 0, 1)
    if array.ndim == 3 and array.dtype == np.uint8:
        return torch.from_numpy(array.copy()).permute(2, 0, 1)
    raise ImageError(
        f"{name}: an array {list(array.shape)} of {array.dtype}; (H, W, C) of uint8 or float wanted"
    )


def _from_tensor(image: torch.Tensor, name: str) -> torch.Tensor:
    if image.ndim == 2:
        image = image[None]
    if image.ndim == 3 and image.dtype == torch.uint8:
        return image
    if image.ndim == 3 and image.is_floating_point():
        return image.float()
    raise ImageError(
        f"{name}: a tensor {list(image.shape)} of {image.dtype}; (C, H, W) of uint8 or float wanted"
    )


def _with_channels(image: torch.Tensor, channels: int, name: str) -> torch.Tensor:
    if image.shape[0] == channels:
        return image
    colours = image[:-1] if image.shape[0] in (2, 4) else image  # without the transparency
    if colours.shape[0] == 1:
        return colours.repeat(channels, 1, 1)
    if colours.shape[0] == 3 and channels == 1:
        return _grey(colours)
    raise ImageError(f"{name}: {image.shape[0]} channels (shape C, H, W), {channels} wanted")


def _grey(image: torch.Tensor) -> torch.Tensor:
    red, green, blue = image if image.is_floating_point() else image.int()
    grey: torch.Tensor = 77 * red + 150 * green + 29 * blue
    return (grey / 256 if image.is_floating_point() else (grey >> 8).to(torch.uint8))[None]
