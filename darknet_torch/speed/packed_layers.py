"""Layers in the layouts and precisions that they are fastest in, for `optimized`."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from darknet_torch.layers.base import Shape
from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.network import Network
from darknet_torch.speed.onednn import FUSED, Product, available, finished
from darknet_torch.speed.winograd import WinogradConv, filtering

__all__ = ["Cast", "PackedConv", "packed"]


def packed(
    folded: Network,
    dtypes: Sequence[torch.dtype],
    layout: torch.memory_format,
    *,
    compiled: bool = False,
) -> Network:
    """Return a network whose layers compute in these types, its convolutions packed if they can be.

    compiled: a compiler will fuse what is between them. Takes float32; layers that stay as they
    are, are shared.
    """
    result = Network(folded.plan, folded.names)
    for node, layer, dtype in zip(folded.plan, folded.layers, dtypes, strict=True):
        shape = node.input_shapes[0]
        result.layers[node.index] = _packed_layer(layer, shape, dtype, layout, compiled)
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

    def __init__(
        self,
        block: ConvBlock,
        shape: Sequence[int],
        dtype: torch.dtype,
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        super().__init__()
        conv, inside = block.conv, block.activation in FUSED
        self.product = Product(
            conv.weight.detach().to(dtype),
            conv.bias,
            shape,
            stride=conv.stride,
            padding=cast(tuple[int, ...], conv.padding),
            dilation=conv.dilation,
            groups=conv.groups,
            activation=block.activation if inside else "linear",
            layout=layout,
        )
        self.activation = "linear" if inside else block.activation
        self.blur: nn.Module | None = getattr(block, "blur", None)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply, add biases, activate: (B, c, h, w) -> (B, filters, h', w')."""
        x = finished(self.activation, self.product(x))
        return x if self.blur is None else self.blur(x)


def _packed_layer(
    layer: nn.Module, shape: Shape, dtype: torch.dtype, layout: torch.memory_format, compiled: bool
) -> nn.Module:
    if isinstance(layer, ConvBlock) and _can_pack(layer, dtype):
        found = filtering(layer, shape, dtype, compiled=compiled)
        if found is not None:
            return WinogradConv(layer, found, shape, dtype)
        return PackedConv(layer, (1, *shape), dtype, layout)
    if next(layer.parameters(), None) is None:
        return layer
    return Cast(layer, dtype)


def _can_pack(block: ConvBlock, dtype: torch.dtype) -> bool:
    return block.bn is None and not block.xnor and available(block.conv.weight.device, dtype)
