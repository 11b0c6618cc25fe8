"""Bilinear sampling between aligned corners: which pixels make a row or a column, and how much.

    rows, columns = row_taps(480, 416), column_taps(640, 416)
    x = sample(image, rows, columns)                   # float32 (3, 416, 416) in 0..1

Source: `resize_image` of Darknet's image.c. `batch_resizing` mixes the images of a
whole batch in the same way.
"""

import threading
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Taps", "column_taps", "last_row", "row_taps", "sample"]

STRIP = 1 << 20
"""Values that are mixed at a time."""
BAG_OF_BYTES = getattr(torch.ops.quantized, "embedding_bag_byte_rowwise_offsets", None)
"""`F.embedding_bag` of bytes without a copy of them in float32, if torch has it."""
LINEAR = torch.ops.aten.upsample_linear1d.out
"""`F.interpolate` of rows, into memory that is there."""
SCALE = torch.tensor([1.0, 0.0]).view(torch.uint8)
"""With which each row of its table ends: the factor and the summand of the bytes, as float32."""


class Taps(NamedTuple):
    """The two rows (or columns) of an image that each row (column) of the result is mixed of.

    position: (n, 2) int64, of both.
    weight: (n, 2) float32, the share of each.
    linear: (first, count) if they are the columns from `first` on of `count`, and torch's linear
        interpolation mixes those in the same way, but for the last; else None.
    """

    position: Tensor
    weight: Tensor
    linear: tuple[int, int] | None = None

    def at(self, index: Tensor) -> "Taps":
        """Return some of them.

        Args:
            index: of the rows (columns) of the result, (k,) int64.
        """
        linear = None
        if self.linear is not None and bool((index.diff() == 1).all()):
            first, count = self.linear
            linear = first + int(index[0]), count
        return Taps(self.position[index], self.weight[index], linear)


@lru_cache(maxsize=256)
def column_taps(old: int, new: int) -> Taps:
    """Return the taps of `new` columns from `old` ones; the last is the image's last."""
    taps = _taps(old, new)
    taps.position[-1], taps.weight[-1] = old - 1, torch.tensor((1.0, 0.0))
    return taps._replace(linear=(0, new) if _is_linear(taps, old) else None)


@lru_cache(maxsize=256)
def row_taps(old: int, new: int) -> Taps:
    """Return the taps of `new` rows from `old` ones; for the last see `last_row`."""
    taps = _taps(old, new)
    row, weight = last_row(old, new)
    taps.position[-1], taps.weight[-1] = row, torch.tensor((weight, 0.0))
    return taps


def last_row(old: int, new: int) -> tuple[int, float]:
    """Return the row of `old` that becomes the last of `new` rows, and its factor.

    Darknet rounds the position to float32 and leaves out the second of the two rows to mix; where
    the position falls just short (448 rows to 416), the row is black.
    """
    if new == 1:
        return old - 1, 1.0
    position = np.float32(new - 1) * (np.float32(old - 1) / np.float32(new - 1))
    return int(position), float(np.float32(1) - (position - np.float32(int(position))))


def sample(image: Tensor, rows: Taps, columns: Taps, out: Tensor | None = None) -> Tensor:
    """Mix rows, then columns.

    Two rows that are mixed are a bag of two embeddings in torch's terms, and that is its fastest
    function for it: one pass, from bytes to float32.

    Args:
        image: (C, H, W) uint8, or float in 0..1.
        rows: taps of the rows of the result, in those of the image.
        columns: taps of its columns.
        out: (C, height, width) float32, to write to.

    Returns:
        (C, height, width) float32 in 0..1.
    """
    channels, height, width = image.shape
    if out is None:
        out = torch.empty(channels, len(rows.position), len(columns.position), device=image.device)
    pixels = image.permute(1, 2, 0)
    if pixels.is_contiguous() or pixels.stride(2) == 1:
        mix, lines = _mix_interleaved, pixels.reshape(height, width * channels).contiguous()
    else:
        mix, lines = _mix_planar, image.reshape(channels * height, width).contiguous()
    shares = rows.weight if image.is_floating_point() else rows.weight / 255
    strip = max(1, STRIP // (channels * max(width, len(columns.position))))
    strips = (each.split(strip) for each in (rows.position, shares, out.movedim(1, 0)))
    for pairs, share, part in zip(*strips, strict=True):
        _mix_columns(mix(lines, channels, Taps(pairs, share)), columns, part)
    return out


def _mix_interleaved(lines: Tensor, channels: int, rows: Taps) -> Tensor:
    """Return mixed rows, (n, C, W), of an image whose channels of a pixel lie together.

    lines: (H, W * C), the rows of the image.
    rows: taps of n rows of the result, whose weights bring values to 0..1.
    """
    return _mix_rows(lines, rows).view(len(rows.position), -1, channels).transpose(1, 2)


def _mix_planar(lines: Tensor, channels: int, rows: Taps) -> Tensor:
    """Return the same of an image whose channels lie one behind the other: lines (C * H, W)."""
    start = torch.arange(channels)[:, None, None] * (len(lines) // channels)
    of_all = Taps((start + rows.position).flatten(0, 1), rows.weight.repeat(channels, 1))
    return _mix_rows(lines, of_all).view(channels, len(rows.position), -1).transpose(0, 1)


def _mix_columns(mixed: Tensor, columns: Taps, out: Tensor) -> None:
    """Write mixed rows (n, C, W), with their columns mixed, to (n, C, width).

    Torch's linear interpolation is faster than picking the columns. The last one it can miss, as
    its positions are rounded to float32.
    """
    if columns.linear is not None and mixed.device.type == "cpu":
        first, count = columns.linear
        whole = out if out.shape[2] == count else out.new_empty(*out.shape[:2], count)
        LINEAR(mixed, [count], True, None, out=whole)
        whole[..., -1] = mixed[..., -1]
        if whole is not out:
            out.copy_(whole[..., first : first + out.shape[2]])
    else:
        left, right = (mixed[..., each] for each in columns.position.to(mixed.device).unbind(1))
        torch.lerp(left, right, columns.weight[:, 1].to(mixed.device), out=out)


def _mix_rows(lines: Tensor, rows: Taps) -> Tensor:
    """Return (n, W) float32: two rows of `lines` (H, W) mixed each."""
    pairs, shares = rows.position, rows.weight.to(lines.device)
    first, last = (int(each) for each in pairs.aminmax())
    if last - first < pairs.numel():
        needed, pairs = torch.arange(first, last + 1), pairs - first
    else:  # most rows between are read by none
        needed, pairs = pairs.flatten(), torch.arange(pairs.numel()).view(pairs.shape)
    needed, pairs = needed.to(lines.device), pairs.to(lines.device)
    if lines.dtype == torch.uint8 and lines.device.type == "cpu" and BAG_OF_BYTES is not None:
        table, starts = _table(lines, needed), torch.arange(0, pairs.numel(), 2)
        shares = shares.flatten()
        mixed: Tensor = BAG_OF_BYTES(table, pairs.flatten(), starts, per_sample_weights=shares)
        return mixed
    lines = lines.index_select(0, needed).float()
    return F.embedding_bag(pairs, lines, mode="sum", per_sample_weights=shares)


def _table(lines: Tensor, needed: Tensor) -> Tensor:
    """Return rows of bytes (H, W) as a table for BAG_OF_BYTES; the next one overwrites it."""
    width = lines.shape[1]
    table = _scratch.take(len(needed), width + len(SCALE))
    torch.index_select(lines, 0, needed, out=table[:, :width])
    table[:, width:] = SCALE
    return table


class _Scratch(threading.local):
    """Bytes of a thread that are used again: fetching memory anew takes as long as the work."""

    def __init__(self) -> None:
        self.memory = torch.empty(0, dtype=torch.uint8)

    def take(self, height: int, width: int) -> Tensor:
        """Return (height, width) uint8 with any values."""
        if self.memory.numel() < height * width:
            with torch.inference_mode(False):  # else it could be used there alone
                self.memory = torch.empty(height * width, dtype=torch.uint8)
        return self.memory[: height * width].view(height, width)


_scratch = _Scratch()


def _is_linear(taps: Taps, old: int) -> bool:
    """Return whether torch's linear interpolation on a CPU mixes the same columns, of `old` ones.

    It does where it rounds the positions as Darknet does. The values 0, 1, 0, 1, ... show its
    shares.
    """
    comb = torch.arange(old).remainder(2).float()
    size = len(taps.position)
    mixed = F.interpolate(comb[None, None], size=size, mode="linear", align_corners=True)[0, 0]
    wanted = (comb[taps.position] * taps.weight).sum(1)
    return torch.allclose(mixed[:-1], wanted[:-1], rtol=0, atol=1e-7)


def _taps(old: int, new: int) -> Taps:
    scale = float(np.float32(old - 1) / np.float32(max(new - 1, 1)))
    position = torch.arange(new, dtype=torch.float32) * scale
    lower = position.long().clamp_(max=old - 1)
    upper = (lower + 1).clamp_(max=old - 1)
    weight = position - lower
    return Taps(torch.stack((lower, upper), 1), torch.stack((1 - weight, weight), 1))
