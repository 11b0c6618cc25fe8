"""Networks of tiny layers as graphs of oneDNN, which TorchScript cuts out of a trace.

A packed convolution of its own is prepared at every call, which takes as long as two to four
million operations. In a graph all are prepared once. Larger layers gain nothing by that, and more
by Winograd's method and by what Inductor fuses.

Sums must stay out of the graphs: oneDNN writes a sum over one of its maps, and TorchScript's fuser
lets it do so where that map is read again. The outputs are wrong then, or the process ends.
"""

import warnings
from collections.abc import Callable
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.layers.traced import Replaced
from darknet_torch.network import Network
from darknet_torch.network.summary import summarize
from darknet_torch.speed.onednn import is_supported

__all__ = ["graph_of", "has_tiny_layers"]

TINY = 50_000_000
"""Floating point operations of a convolution, below which preparing it costs too much."""
PASSES = 3
"""The first is recorded, at the second oneDNN compiles, the third is as fast as all others."""
SUMS = (torch.add, Tensor.add, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__)
"""Functions that add two maps."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.03}
"""Type of the roughest values -> the largest difference from the network's outputs, relative to
their largest absolute value, by rounding. A sum written over a map that is read again is off by
more."""
_COMPILING = Lock()


def _sum(*args: Any, **kwargs: Any) -> Tensor:
    """Return a sum; of two maps as a difference of one and minus the other: no graph's."""
    if kwargs or not all(isinstance(each, Tensor) for each in args):
        return torch.add(*args, **kwargs)
    return torch.sub(*args, alpha=-1)


def has_tiny_layers(network: Network) -> bool:
    """Return whether a network is faster as a graph: its convolutions are tiny, in the mean.

    Products of maps, as of squeeze and excitation, split a graph and are better left to Inductor.

    Args:
        network: a network in float32 without batch norm.
    """
    convs = sum(isinstance(each, ConvBlock) for each in network.layers)
    split = any(node.layer.multiplies_outputs for node in network.plan)
    if not convs or split or network.stateful or not is_supported(network.device, torch.float32):
        return False
    if not hasattr(torch.jit, "enable_onednn_fusion"):  # a later torch, without TorchScript
        return False
    return summarize(network.plan).flops < TINY * convs


def graph_of(network: nn.Module, x: Tensor) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Trace a network for one shape of input, and let oneDNN compile the parts that it computes.

    As oneDNN shares work out among a number of threads, there is a graph for each number of them.

    Args:
        network: the network, without batch norm, in float32 or partly in bfloat16.
        x: an input of that shape, on the CPU.

    Returns:
        A function from such an input to a tuple of outputs, for any number of callers at once.

    Raises:
        RuntimeError: TorchScript cannot trace it, or the program computes something else.
    """
    programs: dict[int, Callable[[Tensor], Any]] = {}

    def call(x: Tensor) -> tuple[Tensor, ...]:
        threads = torch.get_num_threads()
        if threads not in programs:
            with _COMPILING:
                if threads not in programs:
                    programs[threads] = _compiled(network, x)
        return _as_tuple(programs[threads](x))

    call(x)
    return call


def _compiled(network: nn.Module, x: Tensor) -> Callable[[Tensor], Any]:
    """Return a trace whose parts oneDNN has compiled; the setting for it is put back."""
    before = torch.jit.onednn_fusion_enabled()
    with torch.inference_mode(mode=False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
        values = values.contiguous(memory_format=_layout(x))
        example = values.clone()
        torch.jit.enable_onednn_fusion(True)
        try:
            with Replaced(dict.fromkeys(SUMS, _sum)):
                trace = torch.jit.trace(network, (example,), check_trace=False)
            program: Callable[[Tensor], Any] = torch.jit.freeze(trace, optimize_numerics=False)
            for _ in range(PASSES):
                outputs = program(example)
        finally:
            torch.jit.enable_onednn_fusion(before)
        tolerance = max(TOLERANCE[each.dtype] for each in network.parameters())
        expected = (*_as_tuple(network(values)), values)
        _must_be_equal((*_as_tuple(outputs), example), expected, tolerance)
    return program


def _must_be_equal(
    outputs: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float
) -> None:
    for one, other in zip(outputs, expected, strict=True):
        limit = tolerance * float(other.abs().max())
        if not torch.allclose(one, other, rtol=0, atol=limit, equal_nan=True):
            raise RuntimeError("oneDNN's graph of it computes something else")


def _layout(x: Tensor) -> torch.memory_format:
    strided = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if strided else torch.contiguous_format


def _as_tuple(outputs: Any) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
