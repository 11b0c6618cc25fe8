"""Convolutions by oneDNN: weights in its layout, the activation inside, known to compilers."""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from itertools import count
from typing import Any, cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from darknet_torch.layers.activation import activate

__all__ = ["FUSED", "Product", "available", "finished", "teach_inductor"]

FUSED: dict[str, tuple[str, list[float]]] = {
    "linear": ("none", []),
    "logistic": ("sigmoid", []),
    "relu": ("relu", []),
    "leaky": ("leaky_relu", [0.1]),
    "revleaky": ("leaky_relu", [0.1]),
    "relie": ("leaky_relu", [0.01]),
    "tanh": ("tanh", []),
    "swish": ("swish", []),
}
"""Activations that oneDNN computes inside the product, by its names and with its arguments."""


def available(device: torch.device, dtype: torch.dtype) -> bool:
    """Say whether products of this type can be computed there."""
    if device.type != "cpu" or not torch._C._has_mkldnn:
        return False
    asked = {
        torch.bfloat16: _onednn()._is_mkldnn_bf16_supported,
        torch.float16: _onednn()._is_mkldnn_fp16_supported,
    }
    return bool(asked.get(dtype, lambda: True)())


def finished(activation: str, y: Tensor) -> Tensor:
    """Activate what came out of a product, in its place; mish with one exponential if compiled."""
    if activation != "mish" or not torch.compiler.is_compiling():
        return activate(activation, y, in_place=True)
    grown = y.clamp_max(20).exp()  # tanh(log(1 + e^y)) is 1 in float32 from 9 on
    grown = grown * (grown + 2)
    return y * (grown / (grown + 2))


class Product:
    """A convolution with packed weights: (B, c, h, w) -> (B, filters, h', w').

    weight: (filters, c / groups, kh, kw), its type is what is computed in; bias: (filters,) or
    None, it stays float32 in bfloat16, as it is the same error at all pixels otherwise.
    shape: (B, c, h, w) that the layout is chosen for; other sizes are right too, if slower.
    activation: a key of FUSED. layout: of what comes out.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        shape: Sequence[int],
        *,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0),
        dilation: Sequence[int] = (1, 1),
        groups: int = 1,
        activation: str = "linear",
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        self.dtype, self.layout = weight.dtype, layout
        self.how = (list(padding), list(stride), list(dilation), groups)
        self.filters, _, *self.kernel = weight.shape
        weight = weight.detach().contiguous(memory_format=layout)
        self.weight = _onednn()._reorder_convolution_weight(weight, *self.how, list(shape))
        if bias is not None:
            bias = bias.detach().to(torch.float32 if self.dtype == torch.bfloat16 else self.dtype)
        self.bias = bias
        self.activation = FUSED[activation]
        self.key = next(_KEYS)
        _PRODUCTS[self.key] = self

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply, add biases, activate."""
        x = x.to(self.dtype)
        if torch.compiler.is_compiling():  # see `teach_inductor`
            return cast(Tensor, torch.ops.darknet_torch.product(x, self.key))
        y = _onednn()._convolution_pointwise(
            x, self.weight, self.bias, *self.how, *self.activation, ""
        )
        return cast(Tensor, y)

    def empty(self, x: Tensor) -> Tensor:
        """Return the product of x without any values, for compilers."""
        padding, stride, dilation, _ = self.how
        sides = (
            (side + 2 * p - d * (k - 1) - 1) // s + 1
            for side, p, d, k, s in zip(
                x.shape[2:], padding, dilation, self.kernel, stride, strict=True
            )
        )
        return x.new_empty((len(x), self.filters, *sides)).contiguous(memory_format=self.layout)


_KEYS = count()
_PRODUCTS: WeakValueDictionary[int, Product] = WeakValueDictionary()
"""Traces hold plain tensors and numbers: opaque weights they know by a number."""


@cache
def teach_inductor() -> None:
    """Let Inductor put oneDNN's operator and the weights where a trace has a product's number.

    Its programs are C++ throughout then, which runs without the interpreter's lock.
    """
    names = ("lowering", "mkldnn_ir", "ir", "virtualized")
    lowering, mkldnn, ir, virtualized = (import_module(f"torch._inductor.{n}") for n in names)

    @lowering.register_lowering(torch.ops.darknet_torch.product, type_promotion_kind=None)  # type: ignore[untyped-decorator]
    def lowered(x: Any, key: int) -> Any:
        product, graph = _PRODUCTS[key], virtualized.V.graph
        weight, bias = (
            None if each is None else graph.add_tensor_constant(each, f"product_{key}_{name}")
            for name, each in (("weight", product.weight), ("bias", product.bias))
        )
        how = (*product.how, *product.activation, "")
        return ir.TensorBox.create(mkldnn.ConvolutionUnary.create(x, weight, bias, *how))


def _empty_product(x: Tensor, key: int) -> Tensor:
    return _PRODUCTS[key].empty(x)


_LIBRARY = torch.library.Library("darknet_torch", "DEF")
_LIBRARY.define("product(Tensor x, int key) -> Tensor")
torch.library.register_fake("darknet_torch::product", _empty_product, lib=_LIBRARY)


def _onednn() -> Any:
    return torch.ops.mkldnn
