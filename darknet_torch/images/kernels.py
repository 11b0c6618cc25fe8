"""Kernels in Triton, used where they work: a graphics card does in one step what takes many."""

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module, util
from typing import Any

import torch

__all__ = ["working_kernels"]


@lru_cache(maxsize=64)
def working_kernels(
    module: str, device: torch.device, agree: Callable[[Any, torch.device], bool]
) -> Any | None:
    """Return a module of kernels; None where they do not work, or yield something else.

    Triton compiles kernels with a C compiler, and raises anything where it cannot.

    Args:
        module: its name.
        device: where they are needed.
        agree: returns whether they yield what is computed without them, on some small example.
    """
    if device.type != "cuda" or util.find_spec("triton") is None:
        return None
    try:
        kernels = import_module(module)
        return kernels if agree(kernels, device) else None
    except Exception:  # the result is the same without them
        return None
