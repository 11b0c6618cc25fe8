"""The layers of a network in the layouts and types in which they are fastest."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeGuard, cast

import torch
from torch import Tensor, nn

from darknet_torch.layers.base import Shape
from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.network import Network
from darknet_torch.speed.int8_conv import INT8_FUSED, Int8Conv, Quantization
from darknet_torch.speed.onednn import FUSED, PackedConv, activate_output, is_supported
from darknet_torch.speed.winograd import WinogradConv, best_transforms

__all__ = ["Cast", "PackedConvBlock", "can_pack", "packed"]


def packed(
    folded: Network,
    dtypes: Sequence[torch.dtype],
    layout: torch.memory_format,
    *,
    compiled: bool = False,
    quantizations: Mapping[int, Quantization] | None = None,
) -> Network:
    """Return a network whose layers compute in the given types, with packed convolutions.

    Args:
        folded: a network in float32 without batch norm; layers that stay as they are, are shared.
        dtypes: the type of each layer.
        layout: memory format of feature maps.
        compiled: whether a compiler will fuse what is between the convolutions.
        quantizations: of the inputs of layers that are computed in 8 bits.
    """
    result = Network(folded.plan, folded.names)
    for node, layer, dtype in zip(folded.plan, folded.layers, dtypes, strict=True):
        shape, quantization = node.input_shapes[0], (quantizations or {}).get(node.index)
        result.layers[node.index] = (
            _packed_layer(layer, shape, dtype, layout, compiled)
            if quantization is None
            else PackedConvBlock(cast(ConvBlock, layer), (1, *shape), dtype, layout, quantization)
        )
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
        quantization: of the input, if the convolution is computed in 8 bits.
    """

    def __init__(
        self,
        block: ConvBlock,
        shape: Sequence[int],
        dtype: torch.dtype,
        layout: torch.memory_format = torch.channels_last,
        quantization: Quantization | None = None,
    ) -> None:
        super().__init__()
        kind = partial(Int8Conv, quantization=quantization) if quantization else PackedConv
        conv, fused = block.conv, block.activation in (INT8_FUSED if quantization else FUSED)
        self.conv = kind(
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
    if can_pack(layer, dtype):
        transforms = best_transforms(layer, shape, dtype, compiled=compiled)
        if transforms is not None:
            return WinogradConv(layer, transforms, shape, dtype)
        return PackedConvBlock(layer, (1, *shape), dtype, layout)
    if next(layer.parameters(), None) is None:
        return layer
    return Cast(layer, dtype)


def can_pack(layer: nn.Module, dtype: torch.dtype) -> TypeGuard[ConvBlock]:
    """Return whether a layer is a convolution that oneDNN computes in this type."""
    if not isinstance(layer, ConvBlock) or layer.bn is not None or layer.xnor:
        return False
    return is_supported(layer.conv.weight.device, dtype)
