"""Copy tensors to the device that a network computes on."""

from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["upload"]


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
    computing = torch.cuda.current_stream(device)
    computing.wait_stream(copying)
    copied.record_stream(computing)  # so that its memory is not given away too early
    return copied


@lru_cache(maxsize=64)
def _copying(device: torch.device) -> "torch.cuda.Stream":
    return torch.cuda.Stream(device)
