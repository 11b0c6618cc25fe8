"""Convolutions of a network on a graphics card in 16 bits: more filters, or products split.

The card reads 8 values at once; of maps with 425 channels it reads each alone, which takes three
times as long. Filters of zeros make them 432, of which the first 425 are handed on.
"""

from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from typing import TypeGuard, cast

import torch
from torch import Tensor, nn

from darknet_torch.errors import warn
from darknet_torch.layers.blocks import ConvBlock, has_plain_conv
from darknet_torch.network import Network
from darknet_torch.speed.split_conv import (
    MOST_PIXELS,
    ConvProblem,
    Split,
    best_split,
    can_split,
    split_conv,
)

__all__ = ["CardConv", "can_be_card_conv", "choose_splits"]

ALIGNED = 8
"""Filters come in multiples of it."""
OVER_CHANNELS = "normalize_channels"
"""Activations of this beginning read all channels of a pixel."""


def can_be_card_conv(layer: nn.Module, dtype: torch.dtype) -> TypeGuard[ConvBlock]:
    """Return whether a layer gains by being a `CardConv`, or may gain.

    Args:
        layer: of a network without batch norm.
        dtype: that it computes in.
    """
    return _can_be_padded(layer, dtype) or can_split(layer, dtype)


def _can_be_padded(layer: nn.Module, dtype: torch.dtype) -> TypeGuard[ConvBlock]:
    if not has_plain_conv(layer):
        return False
    return (
        dtype in (torch.float16, torch.bfloat16)
        and layer.conv.weight.is_cuda
        and layer.conv.groups == 1
        and layer.conv.out_channels % ALIGNED != 0
        and not layer.activation.startswith(OVER_CHANNELS)
    )


def _padded(block: ConvBlock) -> ConvBlock:
    """Return a copy with filters of zeros, so that their number is a multiple of ALIGNED."""
    block = deepcopy(block)
    conv = block.conv
    missing = -conv.out_channels % ALIGNED
    conv.out_channels += missing
    for name in ("weight", "bias"):
        values = getattr(conv, name)
        if values is not None:
            wide = torch.cat((values.detach(), values.new_zeros(missing, *values.shape[1:])))
            if values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last):
                wide = wide.contiguous(memory_format=torch.channels_last)
            setattr(conv, name, nn.Parameter(wide, requires_grad=values.requires_grad))
    return block


class CardConv(nn.Module):
    """A ConvBlock for a graphics card: (B, c, H, W) -> (B, filters, H', W').

    Args:
        block: what `can_be_card_conv` accepts.
        dtype: that it computes in.
    """

    def __init__(self, block: ConvBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self.filters = block.conv.out_channels
        block = _padded(block) if _can_be_padded(block, dtype) else block
        self.block, self.dtype = block.to(dtype), dtype
        self.splits: dict[tuple[int, ...], Split | None] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, as was chosen for this shape of input, add biases, activate."""
        x, conv = x.to(self.dtype), self.block.conv
        split = self.splits.get(tuple(x.shape))
        if split is None:
            y = cast(Tensor, self.block(x))
        else:
            bias = cast(Tensor, conv.bias)
            y = split_conv(x, conv.weight, bias, split, self.block.activation)
        return y if y.shape[1] == self.filters else y[:, : self.filters]

    def choose(self, shape: tuple[int, ...]) -> None:
        """Choose how inputs of a shape (B, c, H, W) are computed: it is tried."""
        if shape not in self.splits and can_split(self.block, self.dtype):
            weight = self.block.conv.weight
            size, activation = tuple(weight.shape), self.block.activation
            problem = ConvProblem(weight.device, self.dtype, shape, size, activation)
            self.splits[shape] = best_split(problem)


def choose_splits(network: Network, x: Tensor) -> None:
    """Let the convolutions of a network on a card choose how an input's shape is computed.

    If the coarsest maps have too many pixels, nothing is tried.

    Args:
        network: with convolutions that are a `CardConv`, else nothing happens.
        x: (B, channels, H, W).
    """
    convs = [each for each in network.modules() if isinstance(each, CardConv)]
    if not convs:
        return
    rows, columns = network.plan.stride
    if x[:, :1].numel() > MOST_PIXELS * rows * columns:
        return
    shapes: dict[CardConv, tuple[int, ...]] = {}
    try:
        with ExitStack() as hooks:
            for conv in convs:
                hook = conv.register_forward_pre_hook(partial(_note, shapes))
                hooks.callback(hook.remove)
            network(x)
    except RuntimeError as error:
        warn(f"convolutions are left to cuDNN: {type(error).__name__}: {error}")
    for conv, shape in shapes.items():
        conv.choose(shape)


def _note(
    shapes: dict[CardConv, tuple[int, ...]], conv: nn.Module, inputs: tuple[Tensor, ...]
) -> None:
    shapes[cast(CardConv, conv)] = tuple(inputs[0].shape)
