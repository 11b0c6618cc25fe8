"""Boxes on a picture, for people to look at, and the pieces of the picture inside the boxes."""

import colorsys
import math
from collections.abc import Iterator
from typing import cast

from PIL import Image, ImageDraw, ImageFont

from darknet_torch.detections import Detection, Detections
from darknet_torch.errors import UsageError
from darknet_torch.image import Source, read

__all__ = ["color", "crops", "draw"]

_Box = tuple[float, float, float, float]
_Rgb = tuple[int, int, int]
_GOLDEN = (math.sqrt(5) - 1) / 2
# Saturation and value in turn: the golden hues nearly come round again after 13, 21, 34, 55.
_SHADES = (0.85, 0.95), (0.6, 1.0), (0.95, 0.7), (0.5, 0.8)
_SMALLEST_LETTERS = 6


def draw(image: Source, detections: Detections) -> Image.Image:
    """A copy of the picture with a box and a label (class and score) for each detection.

    Lines and letters grow with the picture, and a class has the same colour in every picture.
    The labels of the highest scores choose their places first: above their box or else near it,
    inside the picture, and clear of one another where there is room.
    """
    picture = _picture(image, detections)
    pen = ImageDraw.Draw(picture)
    scale = math.sqrt(picture.width * picture.height)
    letters = cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=max(10, round(scale / 42))))
    shown = [d for d in detections.clip().sort() if _area(d.box) > 0]
    for d in reversed(shown):
        pen.rectangle(d.box, outline=color(d.class_id), width=max(1, round(scale / 220)))
    taken: list[_Box] = []
    for d in shown:
        taken.append(_label(pen, d, letters, picture.size, taken))
    return picture


def crops(image: Source, detections: Detections) -> list[Image.Image]:
    """What is inside each box, in order; a box without a whole pixel in the picture is skipped."""
    picture = _picture(image, detections)
    pieces = []
    for d in detections.clip():
        left, top, right, bottom = (round(v) for v in d.box)
        if left < right and top < bottom:
            pieces.append(picture.crop((left, top, right, bottom)))
    return pieces


def color(class_id: int) -> _Rgb:
    """RGB in 0..255; classes that follow one another are far apart on the colour wheel."""
    hue = (0.6 + class_id * _GOLDEN) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, *_SHADES[class_id % 4])
    return round(255 * red), round(255 * green), round(255 * blue)


def _picture(image: Source, detections: Detections) -> Image.Image:
    pixels = read(image)
    if pixels.is_floating_point():
        pixels = (pixels * 255).round().clamp(0, 255).byte()
    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy(force=True))
    if picture.size != (detections.width, detections.height):
        wanted = f"{detections.width}x{detections.height}"
        size = f"{picture.width}x{picture.height}"
        raise UsageError(f"these detections belong to a picture of {wanted} pixels, not {size}")
    return picture


def _label(
    pen: ImageDraw.ImageDraw,
    d: Detection,
    font: ImageFont.FreeTypeFont,
    room: tuple[int, int],
    taken: list[_Box],
) -> _Box:
    text = f"{d.name} {d.score:.2f}"
    font = _fitting(font, text, room[0])
    margin = max(1, round(font.size / 5))
    size = math.ceil(font.getlength(text)) + 2 * margin, sum(font.getmetrics()) + margin
    place = min(_places(d.box, size, room), key=lambda p: sum(_overlap(p, t) for t in taken))
    back = color(d.class_id)
    pen.rectangle(place, fill=back)
    pen.text((place[0] + margin, place[1] + margin // 2), text, fill=_readable_on(back), font=font)
    return place


def _fitting(font: ImageFont.FreeTypeFont, text: str, width: int) -> ImageFont.FreeTypeFont:
    """The font, smaller if the text with its margins would be wider than the picture."""
    need = font.getlength(text) + font.size
    if need <= width:
        return font
    return font.font_variant(size=max(_SMALLEST_LETTERS, int(font.size * width / need)))


def _places(box: _Box, size: tuple[int, int], room: tuple[int, int]) -> Iterator[_Box]:
    """Where a label may stand, best first: outside or inside the box's corners, in the picture."""
    left, top, right, bottom = (round(v) for v in box)
    w, h = size
    inside = [y for y in (top - h, top, bottom, bottom - h) if 0 <= y < room[1] - h]
    for y in inside or [max(0, room[1] - 1 - h)]:
        for x in (left, right - w):
            x = max(0, min(x, room[0] - 1 - w))
            yield x, y, x + w, y + h


def _overlap(a: _Box, b: _Box) -> float:
    corner = max(a[0], b[0]), max(a[1], b[1])
    return _area((*corner, min(a[2], b[2]), min(a[3], b[3])))


def _area(box: _Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _readable_on(back: _Rgb) -> str:
    red, green, blue = back
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else "white"
