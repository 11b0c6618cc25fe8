"""Programs that Inductor compiles for one shape of input, with oneDNN's products in them."""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from darknet_torch.speed.onednn import PRODUCTS, Product, tracing

__all__ = ["Outputs", "compiled_for", "trace"]

Outputs = Tensor | tuple[Tensor, ...]

MOST_READS = 3
"""What reads more values, such as a maximum of 2 x 2, is computed once for all that need it;
Inductor's own number is 4."""
SETTINGS = {
    "freezing": True,
    "realize_reads_threshold": MOST_READS,
    "cpp.dynamic_threads": True,  # as many as the caller's
    "size_asserts": False,  # packed weights have other strides than what stands for them
    "fx_graph_cache": False,  # its keys know products by number only
}
"""Of Inductor, while it compiles."""


def compiled_for(network: nn.Module, x: Tensor) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Compile for x's shape, constants frozen; settings are those of before when it returns.

    The weights of products are inputs, as their layout depends on the threads of the caller. On a
    CPU a program is one call into C++, during which other threads may run; it is called without
    the checks of torch.compile, which take as long as a layer. Tracing changes how modules are
    called everywhere: no other thread may call this network meanwhile.
    """
    inductor, config = import_module("torch._inductor"), import_module("torch._inductor.config")
    products = _products_of(network)
    inputs = (x, *(_stand_in(each, x.device) for each in products))
    _teach_inductor()
    with torch.no_grad(), config.patch(SETTINGS | {"cpp_wrapper": x.device.type == "cpu"}):
        run = inductor.compile(trace(network, products, inputs), list(inputs))
    weights: dict[int, list[Tensor]] = {}  # of each number of threads

    def call(x: Tensor) -> tuple[Tensor, ...]:
        threads = torch.get_num_threads()
        if threads not in weights:
            weights[threads] = [each.weight(each.traced) for each in products]
        return tuple(run(x, *weights[threads]))

    return call


def _products_of(network: nn.Module) -> list[Product]:
    """Return the products that a network consists of, in its order."""
    found = (getattr(each, "product", None) for each in network.modules())
    return [each for each in found if isinstance(each, Product)]


def trace(
    network: nn.Module, products: Sequence[Product], inputs: tuple[Tensor, ...]
) -> torch.fx.GraphModule:
    """Return the graph of a network: its input and weights of products -> a tuple of tensors."""
    graph = torch.export.export(_WithWeights(network, products), inputs).module()
    graph.graph.set_codegen(torch.fx.graph.CodeGen())  # no lists and tuples to take apart
    graph.recompile()
    return graph


class _WithWeights(nn.Module):
    """A network that takes what stands for its products' weights as further inputs."""

    def __init__(self, network: nn.Module, products: Sequence[Product]) -> None:
        super().__init__()
        self.network, self.keys = network, [each.key for each in products]

    def forward(self, x: Tensor, *weights: Tensor) -> Outputs:
        with tracing(dict(zip(self.keys, weights, strict=True))):
            found: Outputs = self.network(x)
        return found


def _stand_in(product: Product, device: torch.device) -> Tensor:
    """Return a tensor of the weights' size; nothing reads its values."""
    empty = torch.empty(product.size, dtype=product.dtype, device=device)
    return empty.contiguous(memory_format=product.layout)


@cache
def _teach_inductor() -> None:
    """Let Inductor put oneDNN's operator where a trace has a product."""
    names = ("lowering", "mkldnn_ir", "ir", "virtualized")
    lowering, mkldnn, ir, virtualized = (import_module(f"torch._inductor.{n}") for n in names)

    @lowering.register_lowering(torch.ops.darknet_torch.product, type_promotion_kind=None)  # type: ignore[untyped-decorator]
    def lowered(x: Any, weight: Any, key: int) -> Any:
        product, bias = PRODUCTS[key], PRODUCTS[key].bias
        if bias is not None:
            bias = virtualized.V.graph.add_tensor_constant(bias, f"product_{key}_bias")
        how = (*product.how, *product.activation, "")
        return ir.TensorBox.create(mkldnn.ConvolutionUnary.create(x, weight, bias, *how))


def _empty_product(x: Tensor, _: Tensor, key: int) -> Tensor:
    return PRODUCTS[key].empty(x)


_LIBRARY = torch.library.Library("darknet_torch", "DEF")
_LIBRARY.define("product(Tensor x, Tensor weight, int key) -> Tensor")
torch.library.register_fake("darknet_torch::product", _empty_product, lib=_LIBRARY)
