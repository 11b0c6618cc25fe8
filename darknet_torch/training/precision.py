"""The type of the activations in training: bfloat16 where the hardware multiplies it faster."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from darknet_torch.errors import UsageError
from darknet_torch.training.options import Precision

__all__ = ["autocast", "choose_dtype"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_dtype(wanted: Precision, device: torch.device) -> torch.dtype:
    """Return the type of the activations.

    Args:
        wanted: "auto" is bfloat16 where the device has instructions for it, float16 on older
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
        return torch.bfloat16 if _processor_has_bfloat16() else torch.float32
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float16
    return torch.float32


def _processor_has_bfloat16() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # other systems than Linux
        return False
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return "avx512_bf16" in flags or "amx_bf16" in flags


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Return the context in which a network computes activations of that type."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype)
