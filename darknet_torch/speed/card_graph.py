"""What is changed in a traced network before Inductor compiles it for a graphics card.

There mish takes longer than the convolution before it: Inductor computes log1p and tanh by dozens
of instructions each. Where maps are concatenated it computes each value as one of every map, and
takes the one that is meant.
"""

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

__all__ = ["for_a_card", "mish"]

aten = torch.ops.aten
MISH = (aten.mish.default, aten.mish_.default)
COSTLY = (*MISH, aten.silu.default, aten.silu_.default)
"""Activations that are not computed twice."""
LARGEST = 20.0
"""tanh(log(1 + e^x)) is 1 in float32 from 9 on; e^40 is not yet infinite."""


def for_a_card(graph: GraphModule) -> GraphModule:
    """Replace mish, and concatenations of what is costly, by what Inductor computes faster.

    Args:
        graph: a traced network; it is changed.
    """
    joins = _register_lowering()
    for node in graph.graph.nodes:
        if joins and node.target == aten.cat.default and _is_costly(node):
            node.target, node.args = torch.ops.darknet_torch.joined.default, node.args[:1]
    for node in graph.graph.nodes:
        if node.target in MISH and (node.target == MISH[0] or len(node.args[0].users) == 1):
            node.target = mish
    graph.recompile()
    return graph


def _is_costly(cat: Node) -> bool:
    maps, *dim = cat.args
    inputs = [each for each in maps if isinstance(each, Node)]  # type: ignore[union-attr]
    return dim == [1] and any(each.target in COSTLY for each in inputs)


def mish(x: Tensor) -> Tensor:
    """Compute x * tanh(log(1 + e^x)) with one exponential, and one division: any shape.

    In float32 at least: e^40 is beyond float16.
    """
    wide = x.float() if x.itemsize < 4 else x
    e = wide.clamp_max(LARGEST).exp()
    e = e * (e + 2)
    return (wide * (e / (e + 2))).to(x.dtype)


def _joined(maps: list[Tensor]) -> Tensor:
    return torch.cat(maps, 1)


_LIBRARY = torch.library.Library("darknet_torch", "FRAGMENT")
_LIBRARY.define("joined(Tensor[] maps) -> Tensor")
_LIBRARY.impl("joined", _joined, "CompositeExplicitAutograd")
torch.library.register_fake("darknet_torch::joined", _joined, lib=_LIBRARY)


@cache
def _register_lowering() -> bool:
    """Let each map be computed into its place in the concatenation; False if Inductor lacks that.

    Inductor's table of lowerings gets one entry, for this operator only. It has no public names.
    """
    try:
        lowering, ir = (import_module(f"torch._inductor.{name}") for name in ("lowering", "ir"))
        register, create = lowering.register_lowering, ir.ConcatKernel.create
    except (ImportError, AttributeError):
        return False

    @register(torch.ops.darknet_torch.joined, type_promotion_kind=None)  # type: ignore[untyped-decorator]
    def lower(maps: list[Any]) -> Any:
        return ir.TensorBox(create(maps, 1))

    return True
