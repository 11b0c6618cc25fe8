"""Bilinear sampling between aligned corners: which pixels make a row or a column, and how much.

    rows, columns = row_taps(480, 416), column_taps(640, 416)
    x = sample(image, rows, columns)                   # float32 (3, 416, 416) in 0..1

Source: `resize_image` of Darknet's image.c. `batch_resizing` mixes the images of a
whole batch in the same way.
"""

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Taps", "column_taps", "last_row", "row_taps", "sample"]

STRIP = 1 << 19
"""Values that are mixed at a time."""
BAG_OF_BYTES = getattr(torch.ops.quantized, "embedding_bag_byte_rowwise_offsets", None)
"""`F.embedding_bag` of bytes without a copy of them in float32, if torch has it."""
SCALE = torch.tensor([1.0, 0.0]).view(torch.uint8)
"""With which each row of its table ends: the factor and the summand of the bytes, as float32."""


class Taps(NamedTuple):
    """The two rows (or columns) of an image that each row (column) of the result is mixed of.

    position: (n, 2) int64, of both.
    weight: (n, 2) float32, the share of each.
    """

    position: Tensor
    weight: Tensor

    def at(self, index: Tensor) -> "Taps":
        """Return some of them.

        Args:
            index: of the rows (columns) of the result, (k,) int64.
        """
        return Taps(self.position[index], self.weight[index])


@lru_cache(maxsize=256)
def column_taps(old: int, new: int) -> Taps:
    """Return the taps of `new` columns from `old` ones; the last is the image's last."""
    taps = _taps(old, new)
    taps.position[-1], taps.weight[-1] = old - 1, torch.tensor((1.0, 0.0))
    return taps


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
    columns = _on(columns, image.device)
    across = columns.weight[:, 1].contiguous()
    strip = max(1, STRIP // (channels * max(width, len(across))))
    strips = (each.split(strip) for each in (rows.position, shares, out.movedim(1, 0)))
    for pairs, share, part in zip(*strips, strict=True):
        left, right = mix(lines, channels, Taps(pairs, share), columns)
        torch.lerp(left, right, across, out=part)
    return out


def _mix_interleaved(
    lines: Tensor, channels: int, rows: Taps, columns: Taps
) -> tuple[Tensor, Tensor]:
    """Return mixed rows at both columns, (n, C, width) each; the channels of a pixel lie together.

    lines: (H, W * C), the rows of the image.
    rows: taps of n rows of the result, whose weights bring values to 0..1.
    """
    size = len(rows.position), channels, len(columns.position)
    return _at(_mix_rows(lines, rows), _interleaved(columns, channels), size)


def _mix_planar(lines: Tensor, channels: int, rows: Taps, columns: Taps) -> tuple[Tensor, Tensor]:
    """Return the same of an image whose channels lie one behind the other: lines (C * H, W)."""
    start = torch.arange(channels)[:, None, None] * (len(lines) // channels)
    of_all = Taps((start + rows.position).flatten(0, 1), rows.weight.repeat(channels, 1))
    size = channels, len(rows.position), len(columns.position)
    left, right = _at(_mix_rows(lines, of_all), columns.position.T.contiguous(), size)
    return left.movedim(0, 1), right.movedim(0, 1)


def _mix_rows(lines: Tensor, rows: Taps) -> Tensor:
    """Return (n, W) float32: two rows of `lines` (H, W) mixed each."""
    pairs, shares = rows.position, rows.weight.to(lines.device)
    first, last = (int(each) for each in pairs.aminmax())
    if last - first < pairs.numel():
        lines, pairs = lines[first : last + 1], pairs - first
    else:  # most rows between are read by none
        picked = _scratch.take("picked", (pairs.numel(), lines.shape[1]), lines)
        lines = torch.index_select(lines, 0, pairs.flatten().to(lines.device), out=picked)
        pairs = torch.arange(len(lines)).view(pairs.shape)
    pairs = pairs.to(lines.device)
    if lines.dtype == torch.uint8 and lines.device.type == "cpu" and BAG_OF_BYTES is not None:
        starts = torch.arange(0, pairs.numel(), 2)
        table, index = _with_scale(lines), pairs.flatten()
        mixed: Tensor = BAG_OF_BYTES(table, index, starts, per_sample_weights=shares.flatten())
        return mixed
    return F.embedding_bag(pairs, lines.float(), mode="sum", per_sample_weights=shares)


def _with_scale(lines: Tensor) -> Tensor:
    """Return bytes (H, W) as a table for BAG_OF_BYTES, in scratch memory."""
    height, width = lines.shape
    table = _scratch.take("table", (height, width + len(SCALE)), lines)
    table[:, :width], table[:, width:] = lines, SCALE
    return table


def _at(
    mixed: Tensor, places: Sequence[Tensor] | Tensor, size: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    """Return the values of mixed rows at two lists of places, in scratch memory."""
    names, shape = ("left", "right"), (len(mixed), len(places[0]))
    left, right = (_scratch.take(name, shape, mixed) for name in names)
    for out, place in zip((left, right), places, strict=True):
        torch.index_select(mixed, 1, place, out=out)
    return left.view(size), right.view(size)


class _Scratch(threading.local):
    """Memory of a thread that is used again: fetching it anew takes as long as the work."""

    def __init__(self) -> None:
        self.tensors: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def take(
        self, name: str, size: tuple[int, int], like: Tensor, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Return a tensor with any values; the next one of this name overwrites it."""
        key, count = (name, dtype or like.dtype, like.device), size[0] * size[1]
        if key not in self.tensors or self.tensors[key].numel() < count:
            with torch.inference_mode(False):  # else it could be used there alone
                self.tensors[key] = torch.empty(count, dtype=key[1], device=key[2])
        return self.tensors[key][:count].view(size)


_scratch = _Scratch()


@lru_cache(maxsize=256)
def _on(taps: Taps, device: torch.device) -> Taps:
    return Taps(*(each.to(device) for each in taps))


@lru_cache(maxsize=256)
def _interleaved(columns: Taps, channels: int) -> list[Tensor]:
    """Return the places of both columns where the channels of a pixel lie together."""
    channel = torch.arange(channels, device=columns.position.device)[:, None]
    return [(index * channels + channel).flatten() for index in columns.position.unbind(1)]


def _taps(old: int, new: int) -> Taps:
    scale = float(np.float32(old - 1) / np.float32(max(new - 1, 1)))
    position = torch.arange(new, dtype=torch.float32) * scale
    lower = position.long().clamp_(max=old - 1)
    upper = (lower + 1).clamp_(max=old - 1)
    weight = position - lower
    return Taps(torch.stack((lower, upper), 1), torch.stack((1 - weight, weight), 1))
