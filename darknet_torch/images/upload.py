"""Copy tensors to the device that a network computes on, and hand them from stream to stream.

A graphics card does in order what is launched on a stream, and several streams side by side.
"""

from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["hand_over", "upload"]


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
