"""Boxes and labels drawn on an image, and the parts of an image that are inside boxes."""

import colorsys
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

from PIL import Image, ImageDraw, ImageFont

from darknet_torch.images.reading import ImageSource, read

__all__ = ["class_color", "crop_boxes", "draw_boxes", "open_image"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""
Rgb = tuple[int, int, int]
"""Red, green, blue in 0..255."""
_GOLDEN = (math.sqrt(5) - 1) / 2
# Saturation and value in turn: the golden hues nearly come round again after 13, 21, 34, 55.
_SHADES = (0.85, 0.95), (0.6, 1.0), (0.95, 0.7), (0.5, 0.8)
_SMALLEST_FONT = 6


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
) -> Image.Image:
    """Return a copy of an image with a rectangle and a label for each box.

    Line width and font size grow with the image. The first boxes are drawn on top. Labels are
    placed in the order of the boxes: above their box or else near it, inside the image, and where
    they overlap the earlier labels least.

    Args:
        image: an RGB image, see `open_image`.
        boxes: (left, top, right, bottom) in pixels of the image; those without area are left out.
        labels: a text for each box.
        colors: RGB in 0..255 for each box, such as `class_color` of its class.

    Returns:
        A new image of the same size.
    """
    image = image.copy()
    draw = ImageDraw.Draw(image)
    scale = math.sqrt(image.width * image.height)
    font = cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=max(10, round(scale / 42))))
    visible = [number for number, box in enumerate(boxes) if _area(box) > 0]
    for number in reversed(visible):
        width = max(1, round(scale / 220))
        draw.rectangle(boxes[number], outline=colors[number], width=width)
    taken: list[Box] = []
    for number in visible:
        label = _Label(boxes[number], labels[number], colors[number])
        taken.append(_draw_label(draw, label, font, image.size, taken))
    return image


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


class _Label(NamedTuple):
    box: Box
    text: str
    color: Rgb


def _draw_label(
    draw: ImageDraw.ImageDraw,
    label: _Label,
    font: ImageFont.FreeTypeFont,
    image_size: tuple[int, int],
    taken: list[Box],
) -> Box:
    """Draw a label and return the box that it covers."""
    font = _fitting(font, label.text, image_size[0])
    margin = max(1, round(font.size / 5))
    width = math.ceil(font.getlength(label.text)) + 2 * margin
    size = width, sum(font.getmetrics()) + margin
    positions = _label_positions(label.box, size, image_size)
    position = min(positions, key=lambda box: sum(_overlap(box, other) for other in taken))
    draw.rectangle(position, fill=label.color)
    corner = (position[0] + margin, position[1] + margin // 2)
    draw.text(corner, label.text, fill=_readable_on(label.color), font=font)
    return position


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


def _overlap(a: Box, b: Box) -> float:
    corner = max(a[0], b[0]), max(a[1], b[1])
    return _area((*corner, min(a[2], b[2]), min(a[3], b[3])))


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _readable_on(back: Rgb) -> str:
    red, green, blue = back
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else "white"
