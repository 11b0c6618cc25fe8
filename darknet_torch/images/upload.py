"""Copy tensors to the device that a network computes on, and hand them from stream to stream.

A graphics card does in order what is launched on a stream, and several streams side by side.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["hand_over", "pinned", "pinned_copy", "upload", "upload_joined"]


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor for a graphics card in memory that the card copies from by itself.

    Args:
        tensor: on the CPU.
        device: where it is needed; for another device it is returned as it is.
    """
    return tensor.pin_memory() if _is_card(device) else tensor


def pinned_copy(values: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return bytes (N,) in such memory, copied without the threads that torch would start for it.

    Args:
        values: (N,).
        device: where they are needed; for another device they are not copied.
    """
    if not _is_card(device):
        return torch.from_numpy(values)
    copied = torch.empty(len(values), dtype=torch.uint8, pin_memory=True)
    np.copyto(copied.numpy(), values)
    return copied


def _is_card(device: torch.device) -> bool:
    """Return whether this process has to do with the card; one that only reads images has not."""
    return device.type == "cuda" and torch.cuda.is_initialized()


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; a graphics card goes on computing while it is copied.

    Args:
        tensor: on the CPU, or on the device.
        device: where it is needed, by the work that is launched next.
    """
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    copying = _copying(device)
    with torch.cuda.stream(copying):
        copied = tensor.pin_memory().to(device, non_blocking=True)
    hand_over([copied], copying.record_event(), torch.cuda.current_stream(device))
    return copied


def upload_joined(parts: Sequence[Tensor], device: torch.device) -> Tensor:
    """Return tensors (n, ...) one behind the other on a device, see `upload`.

    Args:
        parts: all on the CPU, best in pinned memory, or all on the device.
        device: where they are needed.
    """
    if device.type != "cuda" or not all(part.is_pinned() for part in parts):
        here = parts[0].is_cuda or device.type != "cuda"
        size = sum(map(len, parts)), *parts[0].shape[1:]
        joined = parts[0].new_empty(size, pin_memory=not here)
        return upload(torch.cat(list(parts), out=joined), device)
    copying = _copying(device)
    with torch.cuda.stream(copying):
        sizes = [len(part) for part in parts]
        joined = parts[0].new_empty(sum(sizes), *parts[0].shape[1:], device=device)
        for place, part in zip(joined.split(sizes), parts, strict=True):
            place.copy_(part, non_blocking=True)
    hand_over([joined], copying.record_event(), torch.cuda.current_stream(device))
    return joined


def hand_over(
    tensors: Iterable[Tensor], made: "torch.cuda.Event", stream: "torch.cuda.Stream"
) -> None:
    """Let what is launched next on a stream work on tensors that another one makes.

    Args:
        tensors: on a graphics card.
        made: recorded on the stream that makes them, behind their making.
        stream: that they are for.
    """
    stream.wait_event(made)
    for tensor in tensors:
        tensor.record_stream(stream)  # so that its memory is not given away too early


@lru_cache(maxsize=64)
def _copying(device: torch.device) -> "torch.cuda.Stream":
    return torch.cuda.Stream(device)
