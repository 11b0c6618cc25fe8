"""Layers in the layouts and precisions that they are fastest in, for `optimized`."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from darknet_torch.layers.activation import activate
from darknet_torch.layers.base import Shape
from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.network import Network
from darknet_torch.winograd import WinogradConv, suits

__all__ = ["Cast", "PackedConv", "packed"]

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


def packed(folded: Network, layout: torch.memory_format) -> Network:
    """Return a network that shares all but its convolutions, which are packed if they can be."""
    result = Network(folded.plan, folded.names)
    for node, module in zip(folded.plan, folded.layers, strict=True):
        result.layers[node.index] = _packed_layer(module, node.input_shapes[0], layout)
    return result


class Cast(nn.Module):
    """A layer with a precision of its own, whatever that of its inputs."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer, self.dtype = layer.to(dtype), dtype

    def forward(self, *inputs: Tensor) -> Tensor:
        """Cast and compute."""
        return cast(Tensor, self.layer(*[x.to(self.dtype) for x in inputs]))


class PackedConv(nn.Module):
    """A ConvBlock without batch norm whose weights are in oneDNN's layout, its activation inside.

    shape: (B, c, h, w) that the layout is chosen for; other sizes are right too, if slower.
    """

    def __init__(self, block: ConvBlock, shape: tuple[int, ...], layout: torch.memory_format):
        super().__init__()
        conv = block.conv
        padding = cast(tuple[int, ...], conv.padding)
        self.how = [list(padding), list(conv.stride), list(conv.dilation), conv.groups]
        weight = conv.weight.detach().contiguous(memory_format=layout)
        # Plain attributes: opaque tensors can be neither saved, nor moved, nor copied.
        self.weight = _onednn()._reorder_convolution_weight(weight, *self.how, list(shape))
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.fused, self.arguments = FUSED.get(block.activation, FUSED["linear"])
        self.activation = "linear" if block.activation in FUSED else block.activation
        self.blur: nn.Module | None = getattr(block, "blur", None)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply, add biases, activate: (B, c, h, w) -> (B, filters, h', w')."""
        x = _onednn()._convolution_pointwise(
            x, self.weight, self.bias, *self.how, self.fused, self.arguments, ""
        )
        x = activate(self.activation, x, in_place=True)
        return x if self.blur is None else self.blur(x)


def _packed_layer(layer: nn.Module, shape: Shape, layout: torch.memory_format) -> nn.Module:
    if isinstance(layer, Cast):
        return Cast(_packed_layer(layer.layer, shape, layout), layer.dtype)
    if isinstance(layer, ConvBlock) and _can_pack(layer):
        if suits(layer, shape):
            return WinogradConv(layer, tiles=-(-shape.h // 2) * -(-shape.w // 2))
        return PackedConv(layer, (1, *shape), layout)
    return layer


def _can_pack(block: ConvBlock) -> bool:
    weight, onednn = block.conv.weight, _onednn()
    if weight.device.type != "cpu" or not torch._C._has_mkldnn:
        return False
    supported = {
        torch.bfloat16: onednn._is_mkldnn_bf16_supported,
        torch.float16: onednn._is_mkldnn_fp16_supported,
    }.get(weight.dtype, lambda: True)
    return bool(not block.xnor and block.bn is None and supported())


def _onednn() -> Any:
    return torch.ops.mkldnn
