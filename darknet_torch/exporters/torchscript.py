"""TorchScript: for libtorch in C++ and for programs that read no newer format."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from darknet_torch.exporters.tracing import Exported, example, prepared
from darknet_torch.files import write_atomically
from darknet_torch.network import Network
from darknet_torch.network.origin import Origin

__all__ = ["save", "traced", "traced_at_one_size", "write"]


def write(
    network: Network,
    path: Path,
    *,
    contents: Literal["raw", "boxes"] = "raw",
    dtype: Literal["float32", "float16"] = "float32",
) -> None:
    """Write a frozen module for `torch.jit.load`.

    The input is float32 (B, C, H, W) in 0..1, RGB, or (B, inputs). The batch may always vary, and
    the size where no layer fixes it: a trace records sizes as operations. The record of
    `network/origin.py` is in _extra_files.

    Args:
        network: a Network with values.
        path: the .torchscript or .ts file to write.
        contents: "raw" maps before the heads (`raw0`, `raw1` ...; the last layer's `output` where
            there is no head), or "boxes" (B, N, 4), xyxy in fractions of the input, with `scores`
            (B, N, classes).
        dtype: precision of weights and computation; input and outputs stay float32.

    Raises:
        UsageError: the network cannot be exported so.
    """
    module = traced(prepared(network, contents, dtype))
    origin = Origin.of(network, contents=contents, dtype=dtype)
    save(module, path, origin.to_text())


def save(module: Any, path: Path, texts: dict[str, str] | None = None) -> None:
    """Write a trace with texts beside it; on a full disk, torch's own writer ends the process."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(module, content, _extra_files=texts or {})
    write_atomically(path, content.getvalue())


def traced(exported: Exported) -> Any:
    """Return the frozen trace of an exported network."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        module = torch.jit.trace(exported, (example(exported.network),), check_trace=False)
        return torch.jit.freeze(module, optimize_numerics=False)


def traced_at_one_size(module: nn.Module, inputs: Sequence[Tensor]) -> Any:
    """Return a trace in which every size is a constant, for converters without such arithmetic.

    Args:
        module: what is traced.
        inputs: of the sizes, the batch of one image among them.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        fixed = torch.export.export(module, tuple(inputs)).module()
        _drop_aliases(fixed)
        return torch.jit.trace(fixed, tuple(inputs), check_trace=False)


def _drop_aliases(module: torch.fx.GraphModule) -> None:
    """Remove the slices of whole tensors, which torch.export makes aliases that converters lack."""
    for node in module.graph.find_nodes(op="call_function", target=torch.ops.aten.alias.default):
        node.replace_all_uses_with(node.args[0])
        module.graph.erase_node(node)
    module.recompile()
