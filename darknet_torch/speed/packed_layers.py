"""The layers of a network in the layouts and types in which they are fastest."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_torch.layers.base import Shape
from darknet_torch.layers.blocks import ConvBlock, has_plain_conv
from darknet_torch.layers.geometry import MaxWindow, max_window_of
from darknet_torch.network import Network
from darknet_torch.speed.card_conv import CardConv, can_be_card_conv
from darknet_torch.speed.int8_conv import INT8_FUSED, Int8Conv, Quantization
from darknet_torch.speed.onednn import FUSED, PackedConv, activate_output, is_supported
from darknet_torch.speed.stem import stem_for
from darknet_torch.speed.winograd import WinogradConv, best_transforms

__all__ = [
    "Cast",
    "PackedConvBlock",
    "SeparableMaxPool",
    "between_float32",
    "can_pack",
    "packed",
]

SEPARABLE = 5
"""Side of a window from which on a maximum is faster of rows, then of columns."""
HALVING = MaxWindow(2, (2, 2), (0, 1))
"""A maximum of 2 x 2 pixels, each of which has one window."""


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
    if folded.device.type == "cuda":
        _separate(result)
        _use_stem(result, folded, dtypes)
    return result


def between_float32(folded: Network, dtypes: Sequence[torch.dtype]) -> Network:
    """Return a network of which some layers compute in other types, between maps in float32.

    It is for a graph of oneDNN: one that joins maps of several types cannot be made.

    Args:
        folded: a network in float32 without batch norm; layers that stay as they are, are shared.
        dtypes: the type of each layer.
    """
    result = Network(folded.plan, folded.names)
    for index, (layer, dtype) in enumerate(zip(folded.layers, dtypes, strict=True)):
        is_other = dtype != torch.float32 and next(layer.parameters(), None) is not None
        result.layers[index] = Cast(deepcopy(layer), dtype, torch.float32) if is_other else layer
    return result


def _separate(result: Network) -> None:
    """Let large maximum poolings be computed in two steps."""
    for node in result.plan:
        window = max_window_of(node.layer)
        if window is None or window.size < SEPARABLE or window.size % 2 == 0:
            continue
        if (window.strides, window.sides) == ((1, 1), (window.size // 2,) * 2):
            result.layers[node.index] = SeparableMaxPool(window.size)


def _use_stem(result: Network, folded: Network, dtypes: Sequence[torch.dtype]) -> None:
    """Let a graphics card compute the first convolution as a `Stem`, if it is faster so."""
    plan = folded.plan
    readers = [node for node in plan if 0 in node.inputs]
    alone = 0 not in plan.outputs and len(readers) == 1
    pooled = alone and max_window_of(readers[0].layer) == HALVING
    stem = stem_for(folded.layers[0], dtypes[0], plan.input, pooled=pooled)
    if stem is None:
        return
    result.layers[0] = stem
    if pooled:
        result.layers[readers[0].index] = nn.Identity()


class SeparableMaxPool(nn.Module):
    """Maximum of windows of size x size with a stride of 1: of rows, then of columns.

    Of 13 x 13 pixels it reads 26 in place of 169, and the maximum is the same.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B, c, h, w) to the same shape."""
        rows = F.max_pool2d(x, (self.size, 1), 1, (self.size // 2, 0))
        return F.max_pool2d(rows, (1, self.size), 1, (0, self.size // 2))


class Cast(nn.Module):
    """A layer that computes in a type of its own, whatever the types of its inputs.

    Args:
        layer: the layer, which gets that type.
        dtype: the type.
        result: the type of its output; None: its own.
    """

    def __init__(
        self, layer: nn.Module, dtype: torch.dtype, result: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.layer, self.dtype, self.result = layer.to(dtype), dtype, result or dtype

    def forward(self, *inputs: Tensor) -> Tensor:
        """Cast and compute."""
        return cast(Tensor, self.layer(*[x.to(self.dtype) for x in inputs]).to(self.result))


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
    if can_be_card_conv(layer, dtype):
        return CardConv(layer, dtype)
    return Cast(layer, dtype)


def can_pack(layer: nn.Module, dtype: torch.dtype) -> TypeGuard[ConvBlock]:
    """Return whether a layer is a convolution that oneDNN computes in this type."""
    if not has_plain_conv(layer):
        return False
    return is_supported(layer.conv.weight.device, dtype)
