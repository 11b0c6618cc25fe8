"""Resize the images of a batch together on a device, in few steps whatever their sizes.

The images go to the device as uint8, in one copy; there each pixel of the result is mixed of the
four pixels of its own image that `resizing.Fit` names. The values are those of `Fit.apply` to 2e-7.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from darknet_torch.images.bilinear import Taps
from darknet_torch.images.kernels import working_kernels
from darknet_torch.images.resizing import MARGIN, Fit
from darknet_torch.images.upload import upload, upload_joined

__all__ = ["resize_batch"]

Array = npt.NDArray[Any]


def resize_batch(images: Sequence[Tensor], fits: Sequence[Fit], device: torch.device) -> Tensor:
    """Bring images to one size.

    Args:
        images: (C, H, W) uint8 each, with the same number of channels; on the CPU or the device.
        fits: how each image becomes the network's input; all of one size.
        device: where the work is done.

    Returns:
        (B, C, height, width) float32 in 0..1, on the device.
    """
    tables = map(_table, fits)
    heights, widths = (np.array([image.shape[side] for image in images]) for side in (1, 2))
    counts = heights * widths
    rows, columns, down, right = (np.stack(each) for each in zip(*tables, strict=True))
    rows = rows * widths[:, None, None] + (counts.cumsum() - counts)[:, None, None]
    index_type = np.int32 if counts.sum() < 2**31 else np.int64
    index = _uploaded((rows.astype(index_type), columns.astype(index_type)), device)
    weight = _uploaded((down, right), device)
    return _mixer(device)(upload_joined(_runs(images), device), *index, *weight, MARGIN)


def _runs(images: Sequence[Tensor]) -> list[Tensor]:
    """Return the pixels of images, (P, C) each, of those together that lie one behind the other.

    Each copy to a card is a wait for the other threads of Python.
    """
    runs, end = list[Tensor](), 0
    for image in images:
        channels, height, width = image.shape
        start, count = image.data_ptr(), height * width
        is_interleaved = image.stride() == (1, width * channels, channels)
        before = runs[-1] if runs else image
        follows = start == end and before.shape[1] == channels and _share(before, image)
        if is_interleaved and follows:
            runs[-1] = before.as_strided((len(before) + count, channels), (channels, 1))
        else:
            runs.append(image.permute(1, 2, 0).reshape(count, channels))
        end = start + image.nbytes if is_interleaved else 0
    return runs


def _share(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors lie in the same memory."""
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def _uploaded(arrays: Sequence[Array], device: torch.device) -> list[Tensor]:
    """Return arrays on a device, copied there together."""
    flat = upload(torch.from_numpy(np.concatenate([each.ravel() for each in arrays])), device)
    parts = flat.split([each.size for each in arrays])
    return [part.view(each.shape) for part, each in zip(parts, arrays, strict=True)]


def _mixer(device: torch.device) -> Callable[..., Tensor]:
    """Return the function that mixes pixels: one kernel where Triton works, else some of torch."""
    kernels = working_kernels("darknet_torch.images.mixing_kernel", device, _agree)
    return _mix if kernels is None else kernels.mix


def _agree(kernels: Any, device: torch.device) -> bool:
    """Return whether a kernel mixes a small image as `_mix` does."""
    pixels = torch.arange(36, dtype=torch.uint8, device=device).view(12, 3)  # of 4 x 3 pixels
    taps = torch.tensor([[[0, 4], [4, 8]], [[0, 1], [2, 3]]], dtype=torch.int32, device=device)
    first, across = taps[:, None]
    shares = torch.tensor([[[0.25, 0.75], [0.5, 0.5]]], device=device)
    work = (pixels, first, across, shares, shares, MARGIN)
    return torch.allclose(kernels.mix(*work), _mix(*work), rtol=0, atol=1e-6)


def _mix(
    pixels: Tensor, first: Tensor, across: Tensor, down: Tensor, right: Tensor, margin: float
) -> Tensor:
    """Mix four pixels for each of the result.

    Args:
        pixels: (P, C) uint8, of all images.
        first: (B, H, 2), index of the first pixel of both rows.
        across: (B, W, 2), both columns.
        down: (B, H, 2), weights of the rows; zero in the margin.
        right: (B, W, 2), weights of the columns; zero in the margin.
        margin: value in the margin.
    """
    size = len(first), first.shape[1], across.shape[1], pixels.shape[1]
    down = down / 255

    def column(number: int) -> Tensor:
        """Return (B, H, W, C): both rows mixed, at one of the columns."""
        taps = []
        for row in range(2):
            index = first[:, :, None, row] + across[:, None, :, number]
            taps.append(pixels.index_select(0, index.flatten()).view(size).float())
        return taps[0].mul_(down[:, :, None, :1]).add_(taps[1].mul_(down[:, :, None, 1:]))

    mixed = column(0).lerp_(column(1), right[:, None, :, 1:])
    inside = (down.amax(2) > 0)[:, :, None] & (right.amax(2) > 0)[:, None]
    mixed = torch.where(inside[..., None], mixed, margin)
    return mixed.permute(0, 3, 1, 2).contiguous()


@lru_cache(maxsize=256)
def _table(fit: Fit) -> tuple[Array, Array, Array, Array]:
    """Return rows (height, 2) and columns (width, 2) of the image, and the weights of both."""
    rows = _padded(fit.rows, fit.top, fit.height)
    columns = _padded(fit.columns, fit.left, fit.width)
    return rows[0], columns[0], rows[1], columns[1]


def _padded(taps: Taps, start: int, size: int) -> tuple[Array, Array]:
    """Return position and weight of taps with a margin at both ends, of pixel 0 with no weight."""
    margin = ((start, size - start - len(taps.position)), (0, 0))
    return np.pad(taps.position.numpy(), margin), np.pad(taps.weight.numpy(), margin)
