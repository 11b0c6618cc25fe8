"""The device that a network computes on, by name: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`, ...

Apple's mps lacks some operators. torch computes those on the processor, with a warning of its own
for each, if PYTORCH_ENABLE_MPS_FALLBACK is 1 before it is imported.
"""

import os

import torch

from darknet_torch.errors import UsageError, warn

__all__ = ["as_device"]

MPS_FALLBACK = "PYTORCH_ENABLE_MPS_FALLBACK"


def as_device(device: str | torch.device) -> torch.device:
    """Return a device that works here.

    Args:
        device: a torch.device, its name, or "auto": the first graphics card if torch can use one,
            else mps, else the processor.

    Raises:
        UsageError: there is no such device, or torch cannot use it.
    """
    name = _best() if device == "auto" else device
    try:
        found = torch.device(name)
        torch.zeros(1, device=found)  # an index too high, a driver too old: known only now
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device={device}: {_reason(str(device), error)}") from error
    if found.type == "mps" and os.environ.get(MPS_FALLBACK) != "1":
        warn(f"mps lacks some operators: set {MPS_FALLBACK}=1 before torch is imported")
    return found


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _reason(name: str, error: Exception) -> str:
    if name.startswith("cuda") and not torch.cuda.is_available():
        return "torch finds no graphics card here"
    return str(error).strip().splitlines()[0]
