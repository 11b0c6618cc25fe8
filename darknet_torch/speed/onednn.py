"""Convolutions by oneDNN, with weights packed in its layout and the activation fused in.

The operator `darknet_torch::packed_conv`, which stands for such a convolution in a traced program,
is defined here too: its schema, its output shape, and its lowering in Inductor. It is never run.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from importlib import import_module
from itertools import count
from threading import Lock
from typing import Any, cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from darknet_torch.layers.activation import activate

__all__ = [
    "FUSED",
    "PACKED_CONVS",
    "PackedConv",
    "activate_output",
    "computes_natively",
    "is_supported",
    "register_lowering",
    "tracing",
]

OPERATORS = (
    "_convolution_pointwise",
    "_reorder_convolution_weight",
    "_get_mkldnn_serialized_md",
)
"""oneDNN's operators of packed weights, which have no public names. Without, nothing is packed."""
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
"""Activations that oneDNN fuses into a convolution: its names for them, and their arguments."""


def is_supported(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether oneDNN computes convolutions of this type on the device."""
    if device.type != "cpu" or not _has_onednn():
        return False
    checks = {
        torch.bfloat16: "_is_mkldnn_bf16_supported",
        torch.float16: "_is_mkldnn_fp16_supported",
    }
    return dtype not in checks or bool(getattr(_onednn(), checks[dtype], lambda: False)())


def computes_natively(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether a device computes in this type natively; True where nobody can tell.

    Of a CPU only oneDNN can.
    """
    return is_supported(device, dtype) or device.type != "cpu" or not _has_onednn()


def activate_output(activation: str, y: Tensor) -> Tensor:
    """Apply an activation to a convolution's output in place; compiled, mish needs one exp."""
    if activation != "mish" or not torch.compiler.is_compiling():
        return activate(activation, y, in_place=True)
    e = y.clamp_max(20).exp()  # tanh(log(1 + e^y)) is 1 in float32 from 9 on
    e = e * (e + 2)
    return y * (e / (e + 2))


class PackedConv:
    """A convolution with packed weights: (B, c, h, w) -> (B, filters, h', w').

    The layout that oneDNN chooses for weights depends on the shape of the input and on the number
    of threads. It would reorder weights of another layout at every call, which takes up to 50
    times as long as the convolution; hence they are packed once more for each new combination.

    Args:
        weight: (filters, c / groups, kh, kw); the convolution is computed in its type.
        bias: (filters,) or None; float32 but in float16, as its rounding would be the same error
            in all pixels.
        shape: (B, c, h, w) of the input that the weights are packed for now.
        activation: a key of FUSED.
        layout: memory format of the output.
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
        self.arguments = (list(padding), list(stride), list(dilation), groups)
        self.size = weight.shape
        self.filters, _, *self.kernel = weight.shape
        self._packed: dict[tuple[int, tuple[int, ...]], Tensor] = {}
        self._pack(weight.detach(), shape)
        if bias is not None:
            bias = bias.detach().to(self.dtype if self.dtype == torch.float16 else torch.float32)
        self.bias = bias
        self.activation = activation
        self.key, self.traced_shape = next(_KEYS), tuple(shape)
        PACKED_CONVS[self.key] = self

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle it with plain weights; packed ones are memory of oneDNN."""
        padding, stride, dilation, groups = self.arguments
        make = partial(
            PackedConv,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            activation=self.activation,
            layout=self.layout,
        )
        _, shape = next(iter(self._packed))
        return make, (self._dense().clone(), self.bias, shape)

    def __call__(self, x: Tensor) -> Tensor:
        """Convolve, add biases, activate."""
        return self.convolve(self.prepared(x))

    def prepared(self, x: Tensor) -> Tensor:
        """Return the input in the type that `convolve` reads."""
        return x.to(self.dtype)

    def convolve(self, x: Tensor) -> Tensor:
        """Convolve what `prepared` returned, add biases, activate."""
        if (stand_ins := _STAND_INS.get()) is not None:
            self.traced_shape = tuple(x.shape)
            y = torch.ops.darknet_torch.packed_conv(x, stand_ins[self.key], self.key)
        else:
            y = self._convolve(x, self.weight(x.shape))
        return cast(Tensor, y)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        unary = FUSED[self.activation]
        y = _onednn()._convolution_pointwise(x, weight, self.bias, *self.arguments, *unary, "")
        return cast(Tensor, y)

    def lower(self, mkldnn: Any, x: Any, weight: Any, constant: Callable[..., Any]) -> Any:
        """Return the convolution as Inductor's node.

        Args:
            mkldnn: `torch._inductor.mkldnn_ir`.
            x: the input in Inductor's terms.
            weight: the packed weights in Inductor's terms.
            constant: (name, tensor) -> the tensor in Inductor's terms.
        """
        arguments = (*self.arguments, *FUSED[self.activation], "")
        return mkldnn.ConvolutionUnary.create(x, weight, constant("bias", self.bias), *arguments)

    def weight(self, shape: Sequence[int]) -> Tensor:
        """Return the weights packed for this shape of input and the current number of threads."""
        packed = self._packed.get((torch.get_num_threads(), tuple(shape)))
        if packed is None:
            with _PACKING:
                packed = self._pack(self._dense(), shape)
        return packed

    def _dense(self) -> Tensor:
        """Return the weights in torch's own layout."""
        return next(iter(self._packed.values())).to_dense().view(self.size)

    def _pack(self, dense: Tensor, shape: Sequence[int]) -> Tensor:
        """Pack the weights for this shape; of equal layouts only one is kept."""
        dense = dense.contiguous(memory_format=self.layout)
        packed = self._reordered(dense, list(shape))
        equal = (each for each in self._packed.values() if _layout(each) == _layout(packed))
        kept: Tensor = next(equal, packed)
        return self._packed.setdefault((torch.get_num_threads(), tuple(shape)), kept)

    def _reordered(self, dense: Tensor, shape: list[int]) -> Tensor:
        y = _onednn()._reorder_convolution_weight(dense, *self.arguments, shape)
        return cast(Tensor, y)

    def empty_output(self, x: Tensor) -> Tensor:
        """Return an uninitialised output for the input x."""
        padding, stride, dilation, _ = self.arguments
        sides = (
            (side + 2 * p - d * (k - 1) - 1) // s + 1
            for side, p, d, k, s in zip(
                x.shape[2:], padding, dilation, self.kernel, stride, strict=True
            )
        )
        return x.new_empty((len(x), self.filters, *sides)).contiguous(memory_format=self.layout)


_KEYS = count()
_PACKING = Lock()
PACKED_CONVS: WeakValueDictionary[int, PackedConv] = WeakValueDictionary()
"""All that exist, by the keys that stand for them in traced programs."""
_STAND_INS: ContextVar[dict[int, Tensor] | None] = ContextVar("_STAND_INS", default=None)


@contextmanager
def tracing(stand_ins: dict[int, Tensor]) -> Iterator[None]:
    """Let calls of PackedConv in this thread be traced as `darknet_torch::packed_conv`.

    Afterwards `PackedConv.traced_shape` is the shape of the input that it was called with.

    Args:
        stand_ins: plain tensors that stand for the packed weights, by key.
    """
    token = _STAND_INS.set(stand_ins)
    try:
        yield
    finally:
        _STAND_INS.reset(token)


_LIBRARY = torch.library.Library("darknet_torch", "DEF")
_LIBRARY.define("packed_conv(Tensor x, Tensor weight, int key) -> Tensor")


def _fake_packed_conv(x: Tensor, _: Tensor, key: int) -> Tensor:
    return PACKED_CONVS[key].empty_output(x)


torch.library.register_fake("darknet_torch::packed_conv", _fake_packed_conv, lib=_LIBRARY)


@cache
def register_lowering() -> None:
    """Let Inductor lower `darknet_torch::packed_conv` to oneDNN's convolution.

    Inductor's table of lowerings gets one entry, for this operator only. It has no public names.
    """
    names = ("lowering", "mkldnn_ir", "ir", "virtualized")
    lowering, mkldnn, ir, virtualized = (import_module(f"torch._inductor.{n}") for n in names)

    @lowering.register_lowering(torch.ops.darknet_torch.packed_conv, type_promotion_kind=None)  # type: ignore[untyped-decorator]
    def lower(x: Any, weight: Any, key: int) -> Any:
        def constant(name: str, value: Tensor | None) -> Any:
            name, graph = f"packed_conv_{key}_{name}", virtualized.V.graph
            return None if value is None else graph.add_tensor_constant(value, name)

        return ir.TensorBox.create(PACKED_CONVS[key].lower(mkldnn, x, weight, constant))


def _layout(packed: Tensor) -> bytes:
    """Return oneDNN's memory descriptor of packed weights."""
    return bytes(_onednn()._get_mkldnn_serialized_md(packed).tolist())


@cache
def _has_onednn() -> bool:
    """Return whether torch was built with oneDNN, and has the operators that are used here."""
    return torch.backends.mkldnn.is_available() and all(
        hasattr(_onednn(), name) for name in OPERATORS
    )


def _onednn() -> Any:
    """Return oneDNN's operators; those of packed weights have no public names."""
    return torch.ops.mkldnn
