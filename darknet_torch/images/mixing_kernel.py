"""The kernel of `batch_resizing`, in Triton: all of a batch in one launch, each pixel read once."""

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["mix"]

BLOCK = 128
"""Columns of a row that a program computes."""


def mix(
    pixels: Tensor, first: Tensor, across: Tensor, down: Tensor, right: Tensor, margin: float
) -> Tensor:
    """Mix four pixels for each of the result, as `batch_resizing._mix` does.

    Args:
        pixels, first, across, down, right, margin: as there.

    Returns:
        (B, C, H, W) float32 in 0..1.
    """
    batch, height, width = len(first), first.shape[1], across.shape[1]
    channels = pixels.shape[1]
    out = torch.empty(batch, channels, height, width, device=pixels.device)
    tensors = [each.contiguous() for each in (first, across, down, right)]
    with torch.cuda.device_of(pixels):
        _mix[(triton.cdiv(width, BLOCK), height, batch)](
            pixels, *tensors, out, height, width, margin, channels=channels, block=BLOCK
        )
    return out


@triton.jit
def _mix(
    pixels, first, across, down, right, out, height, width, margin,
    channels: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    column = tl.program_id(0) * block + tl.arange(0, block)
    row, image = tl.program_id(1), tl.program_id(2)
    line, inside = image * height + row, column < width
    place = 2 * (image * width + column)
    upper, lower = tl.load(first + 2 * line), tl.load(first + 2 * line + 1)
    above, below = tl.load(down + 2 * line) / 255, tl.load(down + 2 * line + 1) / 255
    left_pixel = tl.load(across + place, mask=inside, other=0)
    right_pixel = tl.load(across + place + 1, mask=inside, other=0)
    left_share = tl.load(right + place, mask=inside, other=0.0)
    share = tl.load(right + place + 1, mask=inside, other=0.0)
    is_image = tl.maximum(above, below) * tl.maximum(left_share, share) > 0
    target = (image * channels).to(tl.int64) * height * width + row * width + column
    for channel in tl.static_range(channels):
        source = pixels + channel
        a = tl.load(source + (upper + left_pixel).to(tl.int64) * channels, mask=inside, other=0)
        b = tl.load(source + (lower + left_pixel).to(tl.int64) * channels, mask=inside, other=0)
        c = tl.load(source + (upper + right_pixel).to(tl.int64) * channels, mask=inside, other=0)
        d = tl.load(source + (lower + right_pixel).to(tl.int64) * channels, mask=inside, other=0)
        left = a.to(tl.float32) * above + b.to(tl.float32) * below
        value = left + share * (c.to(tl.float32) * above + d.to(tl.float32) * below - left)
        value = tl.where(is_image, value, margin)
        tl.store(out + target + channel * height * width, value, mask=inside)
