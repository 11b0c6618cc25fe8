"""The type of the activations in training: bfloat16 where the hardware is faster in it."""

from contextlib import AbstractContextManager, nullcontext

import torch

from darknet_torch.distributed import Ranks
from darknet_torch.errors import UsageError
from darknet_torch.speed.dtypes import type_name
from darknet_torch.speed.trials import is_faster_than_float32
from darknet_torch.training.options import Precision

__all__ = ["agreed_dtype", "autocast", "choose_dtype"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_dtype(wanted: Precision, device: torch.device) -> torch.dtype:
    """Return the type of the activations.

    Args:
        wanted: "auto" is bfloat16 where the device computes faster in it, float16 on older
            graphics cards, else float32.
        device: what computes.

    Raises:
        UsageError: float16 on a processor, which has no instructions for it.
    """
    if wanted == "float16" and device.type == "cpu":
        raise UsageError("dtype=float16: for graphics cards; on a processor bfloat16 or float32")
    if wanted != "auto":
        return DTYPES[wanted]
    if device.type == "cpu":
        return torch.bfloat16 if is_faster_than_float32(torch.bfloat16) else torch.float32
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float16
    return torch.float32


def agreed_dtype(
    wanted: Precision, saved: Precision, device: torch.device, ranks: Ranks
) -> torch.dtype:
    """Return the type that all ranks compute in; of "auto" the one that a training began with."""
    if wanted != "auto":
        return choose_dtype(wanted, device)
    found = choose_dtype(saved, device)
    everywhere = set(ranks.gather(type_name(found).encode()))
    return found if len(everywhere) == 1 else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Return the context in which a network computes activations of that type."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype)
