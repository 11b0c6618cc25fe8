"""Boxes and labels drawn on an image, and the parts of an image that are inside boxes."""

import colorsys
import math
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from darknet_torch.images.fonts import font_for
from darknet_torch.images.reading import ImageSource, read

__all__ = [
    "FontFile",
    "class_color",
    "crop_boxes",
    "draw_boxes",
    "draw_boxes_on",
    "draw_text",
    "open_image",
]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""
FontFile = str | PathLike[str] | None
"""A file of a font; None is one that has the letters."""
Rgb = tuple[int, int, int]
"""Red, green, blue in 0..255."""
_GOLDEN = (math.sqrt(5) - 1) / 2
# Saturation and value in turn: the golden hues nearly come round again after 13, 21, 34, 55.
_SHADES = (0.85, 0.95), (0.6, 1.0), (0.95, 0.7), (0.5, 0.8)
_SMALLEST_FONT = 6
_SMALL = 2
"""A box whose shorter side is less than so many heights of a label is small: it could be hidden."""
_CROWD = 50
"""Boxes from which on lines become thinner, and letters smaller."""
_MOST_COVERED = 0.3
"""Share of the image under labels from which on there are no more."""
_MOST_HIDDEN = 0.35
"""Share of a label on other labels and small boxes from which on it is left out."""


def open_image(source: ImageSource, max_pixels: int | None = None) -> Image.Image:
    """Read an image for drawing.

    Args:
        source: whatever `reading.read` takes; of many channels the first three are shown.
        max_pixels: most pixels of a file, see `reading.read`.

    Returns:
        A PIL image in RGB.

    Raises:
        ImageError: the image cannot be read.
    """
    pixels = read(source, None, max_pixels=max_pixels)
    pixels = pixels[:3] if len(pixels) >= 3 else pixels[:1].repeat(3, 1, 1)
    if pixels.is_floating_point():
        pixels = (pixels * 255).round().clamp(0, 255).byte()
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy(force=True))


def draw_boxes(
    image: Image.Image,
    boxes: Sequence[Box],
    labels: Sequence[str],
    colors: Sequence[Rgb],
    *,
    substitutes: Sequence[str] | None = None,
    font: FontFile = None,
) -> Image.Image:
    """Return a copy of an image with a rectangle and a label for each box.

    Lines and letters grow with the image, and are smaller for small boxes and crowds. The first
    boxes are drawn on top. Labels are placed in the order of the boxes: near their box, inside the
    image, where they cover earlier labels and small boxes least. A label that would hide others
    even there is left out, and so are those behind that have no room, so that crowds stay visible.

    Args:
        image: an RGB image, see `open_image`.
        boxes: (left, top, right, bottom) in pixels of the image; those without area are left out.
        labels: a text for each box.
        colors: RGB in 0..255 for each box, such as `class_color` of its class.
        substitutes: a text in plain letters for each box, where no font has those of the label.
        font: a file of a font for the labels; None is one that has their letters, see `fonts`.

    Returns:
        A new image of the same size.

    Raises:
        UsageError: `font` is no font.
    """
    image = image.copy()
    draw_boxes_on(image, boxes, labels, colors, substitutes=substitutes, font=font)
    return image


def draw_boxes_on(
    image: Image.Image,
    boxes: Sequence[Box],
    labels: Sequence[str],
    colors: Sequence[Rgb],
    *,
    substitutes: Sequence[str] | None = None,
    font: FontFile = None,
) -> None:
    """Draw on an image itself what `draw_boxes` draws on a copy.

    Args:
        image: an RGB image, which is changed.
        boxes: see `draw_boxes`, like the others.
        labels: a text for each box.
        colors: RGB for each box.
        substitutes: a text in plain letters for each box.
        font: a file of a font.

    Raises:
        UsageError: `font` is no font.
    """
    draw = ImageDraw.Draw(image)
    scale = math.sqrt(image.width * image.height)
    visible = [number for number, box in enumerate(boxes) if _area(box) > 0]
    crowd = max(1.0, len(visible) / _CROWD)
    for number in reversed(visible):
        width = round(min(scale / 220, _side(boxes[number]) / 10) / crowd)
        draw.rectangle(boxes[number], outline=colors[number], width=max(1, width))
    labelling = _Labelling(draw, image.size, np.array([boxes[n] for n in visible]).reshape(-1, 4))
    for number in visible:
        size = _font_size(scale, boxes[number], crowd)
        texts = labels[number], (substitutes or labels)[number]
        labelling.add(boxes[number], _in_font(texts, size, font), colors[number])


def draw_text(
    image: Image.Image,
    corner: tuple[float, float],
    text: str,
    color: Rgb,
    *,
    font: FontFile = None,
) -> None:
    """Write a text on an image, on a ground of a colour, inside the image if it has room.

    Args:
        image: an RGB image, which is changed.
        corner: left and top of the text in pixels.
        text: one line.
        color: RGB in 0..255 of the ground.
        font: a file of a font; None is one that has the letters.

    Raises:
        UsageError: `font` is no font.
    """
    size = round(max(10.0, math.sqrt(image.width * image.height) / 42))
    text, found = _in_font((text, text), size, font)
    found = _fitting(found, text, image.width)
    margin = max(1, round(found.size / 5))
    width, height = math.ceil(found.getlength(text)) + 2 * margin, sum(found.getmetrics()) + margin
    left = max(0, min(round(corner[0]), image.width - 1 - width))
    top = max(0, min(round(corner[1]), image.height - 1 - height))
    draw = ImageDraw.Draw(image)
    draw.rectangle((left, top, left + width, top + height), fill=color)
    draw.text((left + margin, top + margin // 2), text, fill=_readable_on(color), font=found)


def crop_boxes(image: Image.Image, boxes: Sequence[Box]) -> list[Image.Image]:
    """Return the part of an image inside each box; boxes without a whole pixel are skipped.

    Args:
        image: an RGB image, see `open_image`.
        boxes: (left, top, right, bottom) in pixels, inside the image.
    """
    corners = [[round(v) for v in box] for box in boxes]
    return [
        image.crop((left, top, right, bottom))
        for left, top, right, bottom in corners
        if left < right and top < bottom
    ]


def class_color(class_id: int) -> Rgb:
    """Return RGB in 0..255; consecutive class indices are far apart on the colour wheel."""
    hue = (0.6 + class_id * _GOLDEN) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, *_SHADES[class_id % 4])
    return round(255 * red), round(255 * green), round(255 * blue)


def _side(box: Box) -> float:
    return min(box[2] - box[0], box[3] - box[1])


def _font_size(scale: float, box: Box, crowd: float) -> int:
    """Return the size of a label's letters in pixels: smaller ones for small boxes and crowds."""
    largest = max(10.0, scale / 42)
    return round(min(largest, max(10.0, largest / 2, _side(box) / 3 / crowd)))


def _in_font(
    texts: tuple[str, str], size: int, path: FontFile
) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return the first of the texts that a font can show, and that font."""
    for text in texts:
        font = font_for(text, size, path)
        if font is not None:
            return text, font
    return texts[1], cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=size))


class _Labelling:
    """Places labels on an image, one after the other."""

    def __init__(
        self, draw: ImageDraw.ImageDraw, image_size: tuple[int, int], boxes: npt.NDArray[Any]
    ) -> None:
        self.draw, self.image_size, self.boxes = draw, image_size, boxes
        self.taken: list[Box] = []

    def add(self, box: Box, label: tuple[str, ImageFont.FreeTypeFont], color: Rgb) -> None:
        """Draw the label of a box where it hides least; leave it out where it hides too much."""
        if sum(map(_area, self.taken)) > _MOST_COVERED * math.prod(self.image_size):
            return  # before what takes time: of tens of thousands of boxes most come here
        text, font = label[0], _fitting(label[1], label[0], self.image_size[0])
        margin = max(1, round(font.size / 5))
        width = math.ceil(font.getlength(text)) + 2 * margin
        size = width, sum(font.getmetrics()) + margin
        positions = list(_label_positions(box, size, self.image_size))
        hidden = self._hidden(positions)
        best = int(hidden.argmin())
        if self.taken and hidden[best] > _MOST_HIDDEN:
            return
        position = positions[best]
        self.taken.append(position)
        self.draw.rectangle(position, fill=color)
        corner = (position[0] + margin, position[1] + margin // 2)
        self.draw.text(corner, text, fill=_readable_on(color), font=font)

    def _hidden(self, positions: Sequence[Box]) -> npt.NDArray[Any]:
        """Return what share of a label would lie on other labels and on small boxes.

        positions: of the label, all of one size.
        """
        height = positions[0][3] - positions[0][1]
        sides = (self.boxes[:, 2:] - self.boxes[:, :2]).min(axis=1)
        others = [*self.taken, *self.boxes[sides < _SMALL * height]]
        return _overlaps(np.array(positions), np.array(others).reshape(-1, 4)) / _area(positions[0])


def _fitting(font: ImageFont.FreeTypeFont, text: str, width: int) -> ImageFont.FreeTypeFont:
    """The font, smaller if the text with its margins would be wider than the image."""
    need = font.getlength(text) + font.size
    if need <= width:
        return font
    return font.font_variant(size=max(_SMALLEST_FONT, int(font.size * width / need)))


def _label_positions(box: Box, size: tuple[int, int], image_size: tuple[int, int]) -> Iterator[Box]:
    """Yield positions of a label at the box's corners, outside or inside, the best one first."""
    left, top, right, bottom = (round(v) for v in box)
    w, h = size
    width, height = image_size
    inside = [y for y in (top - h, top, bottom, bottom - h) if 0 <= y < height - h]
    for y in inside or [max(0, height - 1 - h)]:
        for x in (left, right - w):
            x = max(0, min(x, width - 1 - w))
            yield x, y, x + w, y + h


def _overlaps(boxes: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the area that each of some boxes (N, 4) shares with others (M, 4), in all: (N,)."""
    boxes = boxes[:, None]
    low, high = np.maximum(boxes[..., :2], others[:, :2]), np.minimum(boxes[..., 2:], others[:, 2:])
    shared: npt.NDArray[Any] = (high - low).clip(min=0).prod(axis=-1).sum(axis=-1)
    return shared


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _readable_on(back: Rgb) -> str:
    red, green, blue = back
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else "white"
