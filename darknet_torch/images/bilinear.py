"""Bilinear sampling between aligned corners: which pixels make a row or a column, and how much.

    rows, columns = row_taps(480, 416), column_taps(640, 416)
    x = sample(image, rows, columns)                   # float32 (3, 416, 416) in 0..1

Source: `resize_image` of Darknet's image.c. `batch_resizing` mixes the images of a
whole batch in the same way.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Taps", "column_taps", "last_row", "row_taps", "sample"]

STRIP = 1 << 19
"""Values that are mixed at a time: memory of this size is used again, not fetched anew."""


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

    Args:
        image: (C, H, W) uint8, or float in 0..1.
        rows: taps of the rows of the result, in those of the image.
        columns: taps of its columns.
        out: (C, height, width) float32, to write to.

    Returns:
        (C, height, width) float32 in 0..1.
    """
    channels, _, width = image.shape
    if out is None:
        out = torch.empty(channels, len(rows.position), len(columns.position), device=image.device)
    mix = _mix_interleaved if image.permute(1, 2, 0).is_contiguous() else _mix_planar
    columns = _on(columns, image.device)
    across = columns.weight[:, 1].contiguous()
    share = rows.weight if image.is_floating_point() else rows.weight / 255
    strip = max(1, STRIP // (channels * width))
    strips = (each.split(strip) for each in (rows.position, share, out.movedim(1, 0)))
    for index, weight, part in zip(*strips, strict=True):
        top, bottom = int(index[0, 0]), int(index.max())
        taps = Taps(*(each.to(image.device) for each in (index - top, weight)))
        left, right = mix(image[:, top : bottom + 1], taps, columns)
        torch.lerp(left, right, across, out=part)
    return out


def _mix_interleaved(image: Tensor, rows: Taps, columns: Taps) -> list[Tensor]:
    """Return rows at both columns, (n, C, width) each; the channels of a pixel lie together."""
    channels, height, width = image.shape
    lines = image.permute(1, 2, 0).view(height, width * channels)
    mixed = _mix_rows(lines, rows.position, rows.weight)
    size = len(rows.position), channels, len(columns.position)
    return [mixed.index_select(1, each).view(size) for each in _interleaved(columns, channels)]


def _mix_planar(image: Tensor, rows: Taps, columns: Taps) -> list[Tensor]:
    """Return the same of an image whose channels lie one behind the other."""
    if image.shape[1] > 2 * len(rows.position):
        image = image.index_select(1, rows.position.flatten())
        rows = Taps(_pairs(len(rows.position), image.device), rows.weight)
    channels, height, width = image.shape
    start = torch.arange(channels, device=image.device)[:, None, None] * height
    lines = image.reshape(channels * height, width)
    index, weight = (start + rows.position).flatten(0, 1), rows.weight.repeat(channels, 1)
    mixed = _mix_rows(lines, index, weight)
    size = channels, len(rows.position), len(columns.position)
    places = columns.position.T.contiguous()
    return [mixed.index_select(1, each).view(size).movedim(0, 1) for each in places]


def _mix_rows(lines: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Return (n, W) float32, each the weighted sum of two rows of `lines` (H, W)."""
    if len(lines) > 2 * len(index):  # most rows are not used
        lines = lines.index_select(0, index.flatten())
        index = _pairs(len(index), lines.device)
    return F.embedding_bag(index, lines.float(), mode="sum", per_sample_weights=weight)


def _pairs(count: int, device: torch.device) -> Tensor:
    return torch.arange(2 * count, device=device).view(count, 2)


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
