"""The kernels of `placing` and `colour`, in Triton: each pixel is read and written once."""

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["distort", "place"]

BLOCK = 128
"""Pixels that a program computes."""


def place(pixels: Tensor, table: Tensor, size: tuple[int, int], grey: int) -> Tensor:
    """Place the images of a batch, as `placing.place_batch` does.

    Args:
        pixels: (P, C) uint8, of all images.
        table: (B, K) float64, see `placing.PlacingFacts`.
        size: (height, width) of the input.
        grey: level of the margins.

    Returns:
        (B, C, height, width) uint8.
    """
    (height, width), channels = size, pixels.shape[1]
    out = pixels.new_empty(len(table), channels, height, width)
    blocks = (triton.cdiv(width, BLOCK), height, len(table))
    with torch.cuda.device_of(pixels):
        _place[blocks](
            pixels.contiguous(), table.contiguous(), out, height, width, grey, table.shape[1],
            channels=channels, block=BLOCK,
        )  # fmt: skip
    return out


def distort(images: Tensor, colours: Tensor) -> Tensor:
    """Change the colours of RGB images, as `colour.distort` does.

    Args:
        images: (B, 3, H, W) uint8.
        colours: (B, 3) float32: hue, saturation and exposure of each image.

    Returns:
        (B, 3, H, W) uint8.
    """
    images = images.contiguous()
    out, count = torch.empty_like(images), images.shape[2] * images.shape[3]
    with torch.cuda.device_of(images):
        _distort[(triton.cdiv(count, BLOCK), len(images))](
            images, colours.contiguous(), out, count, block=BLOCK
        )
    return out


@triton.jit
def _taps(axis, number):
    """Return two places of an axis, see `placing.Axis`, their weights, and what is covered."""
    first, step, length = tl.load(axis), tl.load(axis + 1), tl.load(axis + 2)
    scale, before, visible = tl.load(axis + 3), tl.load(axis + 4), tl.load(axis + 5)
    lowest, end = tl.load(axis + 6), tl.load(axis + 7)
    place = first + step * number
    covered = (place >= 0) & (place < length)
    position = place * scale
    lower = tl.floor(position)
    share, upper = position - lower, lower + 1
    weight = tl.where((lower >= lowest) & (lower < end) & covered, 1 - share, 0.0)
    weight_upper = tl.where((upper >= lowest) & (upper < end) & covered, share, 0.0)
    lower = tl.minimum(tl.maximum(lower - before, 0.0), visible - 1).to(tl.int64)
    upper = tl.minimum(tl.maximum(upper - before, 0.0), visible - 1).to(tl.int64)
    return lower, upper, weight.to(tl.float32), weight_upper.to(tl.float32), covered


@triton.jit
def _place(
    pixels, table, out, height, width, grey, entries, channels: tl.constexpr, block: tl.constexpr
):
    column = tl.program_id(0) * block + tl.arange(0, block)
    row, image = tl.program_id(1) + tl.arange(0, 1), tl.program_id(2)
    inside = column < width
    facts = table + image * entries
    columns, rows, colours = facts + 3, facts + 11, facts + 19
    left, right, of_left, of_right, is_column = _taps(columns, column.to(tl.float64))
    above, below, of_above, of_below, is_row = _taps(rows, row.to(tl.float64))
    start = tl.load(facts).to(tl.int64)
    line = tl.load(columns + 5).to(tl.int64)  # pixels of a row that lie on the image
    top, bottom = start + above * line, start + below * line
    factor = tl.where(row == tl.load(facts + 1), tl.load(facts + 2), 1.0).to(tl.float32)
    beyond = 1 - (of_above + of_below) * (of_left + of_right)
    target = (image * channels).to(tl.int64) * height * width + row * width + column
    for channel in tl.static_range(channels):
        source = pixels + channel
        a = tl.load(source + (top + left) * channels, mask=inside, other=0).to(tl.float32)
        b = tl.load(source + (bottom + left) * channels, mask=inside, other=0).to(tl.float32)
        c = tl.load(source + (top + right) * channels, mask=inside, other=0).to(tl.float32)
        d = tl.load(source + (bottom + right) * channels, mask=inside, other=0).to(tl.float32)
        value = (a * of_above + b * of_below) * of_left + (c * of_above + d * of_below) * of_right
        value += beyond * tl.load(colours + channel).to(tl.float32)
        value = tl.floor(value + 0.5) * factor
        value = tl.where(is_row & is_column, value, grey)
        place = out + target + channel * height * width
        tl.store(place, value.to(tl.int32).to(tl.uint8), mask=inside)


@triton.jit
def _distort(images, colours, out, count, block: tl.constexpr):
    pixel = tl.program_id(0) * block + tl.arange(0, block)
    image = tl.program_id(1)
    inside = pixel < count
    source = (image * 3).to(tl.int64) * count + pixel
    red = tl.load(images + source, mask=inside, other=0).to(tl.float32)
    green = tl.load(images + source + count, mask=inside, other=0).to(tl.float32)
    blue = tl.load(images + source + 2 * count, mask=inside, other=0).to(tl.float32)
    hue, saturation = tl.load(colours + image * 3), tl.load(colours + image * 3 + 1)
    exposure = tl.load(colours + image * 3 + 2)
    value = tl.maximum(tl.maximum(red, green), blue)
    span = value - tl.minimum(tl.minimum(red, green), blue)
    turn = tl.where(green == value, blue - red, red - green)
    turn = tl.where(red == value, green - blue, turn)
    start = tl.where(red == value, 0.0, tl.where(green == value, 2.0, 4.0))
    # divisions as IEEE has them: a hue of exactly 1 has a rule of its own
    turn = tl.math.div_rn(turn, tl.maximum(span, 1e-12)) + start
    turn = tl.math.div_rn(tl.where(turn < 0, turn + 6, turn), 6.0) + hue
    sixths = 6 * tl.where(turn > 1, turn - 1, tl.where(turn < 0, turn + 1, turn))
    strength = tl.math.div_rn(span, tl.maximum(value, 1e-12)) * saturation
    value *= exposure
    strength *= value
    of_red = 2 - tl.abs(sixths - 3)
    of_green = tl.abs(sixths - 2) - 1
    of_blue = tl.where(turn != 1, tl.abs(sixths - 4) - 1, 0.0)  # what Darknet takes for magenta
    _store(out + source, value, strength, of_red, inside)
    _store(out + source + count, value, strength, of_green, inside)
    _store(out + source + 2 * count, value, strength, of_blue, inside)


@triton.jit
def _store(place, value, strength, share, inside):
    level = value - strength * tl.minimum(tl.maximum(share, 0.0), 1.0)
    level = tl.minimum(tl.maximum(level + 0.5, 0.0), 255.0)
    tl.store(place, level.to(tl.int32).to(tl.uint8), mask=inside)
