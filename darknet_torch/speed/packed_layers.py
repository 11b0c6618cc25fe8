"""The layers of a network in the layouts and types in which they are fastest."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from darknet_torch.layers.base import Shape
from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.network import Network
from darknet_torch.speed.onednn import FUSED, PackedConv, activate_output, is_supported
from darknet_torch.speed.winograd import WinogradConv, best_transforms

__all__ = ["Cast", "PackedConvBlock", "packed"]


def packed(
    folded: Network,
    dtypes: Sequence[torch.dtype],
    layout: torch.memory_format,
    *,
    compiled: bool = False,
) -> Network:
    """Return a network whose layers compute in the given types, with packed convolutions.

    Args:
        folded: a network in float32 without batch norm; layers that stay as they are, are shared.
        dtypes: the type of each layer.
        layout: memory format of feature maps.
        compiled: whether a compiler will fuse what is between the convolutions.
    """
    result = Network(folded.plan, folded.names)
    for node, layer, dtype in zip(folded.plan, folded.layers, dtypes, strict=True):
        shape = node.input_shapes[0]
        result.layers[node.index] = _packed_layer(layer, shape, dtype, layout, compiled)
    return result


class Cast(nn.Module):
    """A layer that computes in a type of its own, whatever the types of its inputs."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer, self.dtype = layer.to(dtype), dtype

    def forward(self, *inputs: Tensor) -> Tensor:
        """Cast and compute."""
        return cast(Tensor, self.layer(*[x.to(self.dtype) for x in inputs]))


class PackedConvBlock(nn.Module):
    """A ConvBlock without batch norm whose convolution is packed, with its activation fused in.

    Args:
        block: the block.
        shape: (B, c, h, w) of the input that the weights are packed for now, see `PackedConv`.
        dtype: what the convolution is computed in.
        layout: memory format of the output.
    """

    def __init__(
        self,
        block: ConvBlock,
        shape: Sequence[int],
        dtype: torch.dtype,
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        super().__init__()
        conv, fused = block.conv, block.activation in FUSED
        self.conv = PackedConv(
            conv.weight.detach().to(dtype),
            conv.bias,
            shape,
            stride=conv.stride,
            padding=cast(tuple[int, ...], conv.padding),
            dilation=conv.dilation,
            groups=conv.groups,
            activation=block.activation if fused else "linear",
            layout=layout,
        )
        self.activation = "linear" if fused else block.activation
        self.blur: nn.Module | None = getattr(block, "blur", None)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, add biases, activate: (B, c, h, w) -> (B, filters, h', w')."""
        x = activate_output(self.activation, self.conv(x))
        return x if self.blur is None else self.blur(x)


def _packed_layer(
    layer: nn.Module, shape: Shape, dtype: torch.dtype, layout: torch.memory_format, compiled: bool
) -> nn.Module:
    if isinstance(layer, ConvBlock) and _can_pack(layer, dtype):
        transforms = best_transforms(layer, shape, dtype, compiled=compiled)
        if transforms is not None:
            return WinogradConv(layer, transforms, shape, dtype)
        return PackedConvBlock(layer, (1, *shape), dtype, layout)
    if next(layer.parameters(), None) is None:
        return layer
    return Cast(layer, dtype)


def _can_pack(block: ConvBlock, dtype: torch.dtype) -> bool:
    return block.bn is None and not block.xnor and is_supported(block.conv.weight.device, dtype)
