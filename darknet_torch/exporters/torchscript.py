"""TorchScript: for libtorch in C++ and for programs that know no newer form."""

import warnings
from pathlib import Path
from typing import Any, Literal

import torch

from darknet_torch.exporters.tracing import (
    Exported,
    example,
    prepared,
    program,
)
from darknet_torch.files import atomic
from darknet_torch.network import Network
from darknet_torch.network.origin import Origin

__all__ = ["traced", "traced_at_one_size", "write"]


def write(
    network: Network,
    path: Path,
    *,
    contents: Literal["raw", "boxes"] = "raw",
    dtype: Literal["float32", "float16"] = "float32",
) -> None:
    """Write a frozen module for `torch.jit.load`; metadata in _extra_files.

    The input is float32 (B, C, H, W) in 0..1, RGB, or (B, inputs). Batch and, where no layer fixes
    it, size may vary always: a trace records the sizes that it meets as steps of the program.
    Raises UsageError for what cannot be exported.
    """
    module = traced(prepared(network, contents, dtype))
    origin = Origin.of(network, contents=contents, dtype=dtype)
    with atomic(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(module, file, _extra_files=origin.to_text())


def traced(exported: Exported) -> Any:
    """Return the frozen trace of an exported network."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        module = torch.jit.trace(exported, (example(exported.network),), check_trace=False)
        return torch.jit.freeze(module, optimize_numerics=False)


def traced_at_one_size(exported: Exported) -> Any:
    """Return a trace for one picture of the cfg's size, every size in it a number.

    Converters that have no arithmetic of sizes want it so.
    """
    fixed = program(exported, dynamic_batch=False, dynamic_size=False).module()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.jit.trace(fixed, (example(exported.network, batch=1),), check_trace=False)
