"""Convolutions by oneDNN: weights in its layout, the activation inside."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from threading import Lock
from typing import Any, cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from darknet_torch.layers.activation import activate

__all__ = ["FUSED", "PRODUCTS", "Product", "available", "finished", "multiplies", "tracing"]

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


def multiplies(device: torch.device, dtype: torch.dtype) -> bool:
    """Say whether a device has products of this type; only oneDNN tells what a CPU has."""
    return available(device, dtype) or device.type != "cpu" or not torch._C._has_mkldnn


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
    shape: (B, c, h, w) that weights are packed for at once. The layout that oneDNN wants depends on
    it and on the number of threads, and weights of another one it would reorder at every call, for
    up to 50 times the product's time; hence they are packed anew for what else comes.
    activation: a key of FUSED. layout: of what comes out. size: of weight.
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
        self.size = weight.shape
        self.filters, _, *self.kernel = weight.shape
        self._packed: dict[tuple[int, tuple[int, ...]], Tensor] = {}
        self._pack(weight.detach(), shape)
        if bias is not None:
            bias = bias.detach().to(torch.float32 if self.dtype == torch.bfloat16 else self.dtype)
        self.bias = bias
        self.activation = FUSED[activation]
        self.key, self.traced = next(_KEYS), tuple(shape)
        PRODUCTS[self.key] = self

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply, add biases, activate."""
        x = x.to(self.dtype)
        if (stand_ins := _TRACED.get()) is not None:
            self.traced = tuple(x.shape)
            product = torch.ops.darknet_torch.product(x, stand_ins[self.key], self.key)
            return cast(Tensor, product)
        y = _onednn()._convolution_pointwise(
            x, self.weight(x.shape), self.bias, *self.how, *self.activation, ""
        )
        return cast(Tensor, y)

    def weight(self, shape: Sequence[int]) -> Tensor:
        """Return the weights as oneDNN wants them for this input and the present threads."""
        found = self._packed.get((torch.get_num_threads(), tuple(shape)))
        if found is None:
            with _PACKING:
                dense = next(iter(self._packed.values())).to_dense()
                found = self._pack(dense.view(self.size), shape)
        return found

    def _pack(self, dense: Tensor, shape: Sequence[int]) -> Tensor:
        """Keep the weights for this input; of those of the same layout, one."""
        dense = dense.contiguous(memory_format=self.layout)
        made = _onednn()._reorder_convolution_weight(dense, *self.how, list(shape))
        alike = (each for each in self._packed.values() if _layout(each) == _layout(made))
        kept: Tensor = next(alike, made)
        return self._packed.setdefault((torch.get_num_threads(), tuple(shape)), kept)

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
_PACKING = Lock()
PRODUCTS: WeakValueDictionary[int, Product] = WeakValueDictionary()
"""By their keys, which stand in traces for what no tensor tells."""
_TRACED: ContextVar[dict[int, Tensor] | None] = ContextVar("_TRACED", default=None)


@contextmanager
def tracing(stand_ins: dict[int, Tensor]) -> Iterator[None]:
    """Let products be traced in this thread, with plain tensors for their weights, by key.

    Afterwards `Product.traced` is the shape of the input that it had.
    """
    token = _TRACED.set(stand_ins)
    try:
        yield
    finally:
        _TRACED.reset(token)


def _layout(packed: Tensor) -> bytes:
    """Return what oneDNN calls the memory descriptor of opaque weights."""
    return bytes(_onednn()._get_mkldnn_serialized_md(packed).tolist())


def _onednn() -> Any:
    return torch.ops.mkldnn
