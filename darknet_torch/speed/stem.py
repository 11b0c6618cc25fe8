"""The first convolution of a network on a graphics card: few channels, many pixels.

cuDNN has no fast kernel for three channels: in YOLOv2 that layer is 1 % of the multiplications, and
takes, with its activation and the maximum pooling behind it, a fifth of the time. All three are
one kernel here (in Triton), which writes a quarter of the values.
"""

from copy import deepcopy
from importlib import util
from typing import Any, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_torch.errors import warn
from darknet_torch.layers.activation import activate
from darknet_torch.layers.base import Shape
from darknet_torch.layers.blocks import ConvBlock, has_plain_conv
from darknet_torch.speed.card_trials import milliseconds

__all__ = ["Stem", "can_be_stem", "stem_for"]

CHANNELS = 3
SIZE = 3
"""Side of the kernel."""
FILTERS = (16, 32, 64)
TRIED = 8
"""Images of a batch that is tried."""
TOLERANCE = 0.02
"""Largest difference from cuDNN's values, relative to the largest of them."""
ACTIVATIONS = ("linear", "leaky", "relu", "mish", "swish", "logistic")


def can_be_stem(layer: nn.Module, dtype: torch.dtype) -> TypeGuard[ConvBlock]:
    """Return whether a layer's convolution, on a graphics card, can be a `Stem`.

    Args:
        layer: of a network without batch norm.
        dtype: that it computes in.
    """
    if not has_plain_conv(layer):
        return False
    if util.find_spec("triton") is None:
        return False
    conv = layer.conv
    return (
        dtype in (torch.float16, torch.bfloat16)
        and conv.weight.is_cuda
        and tuple(conv.weight.shape[1:]) == (CHANNELS, SIZE, SIZE)
        and conv.out_channels in FILTERS
        and conv.stride in ((1, 1), (2, 2))
        and conv.padding == (1, 1)
        and conv.dilation == (1, 1)
        and conv.groups == 1
        and layer.activation in ACTIVATIONS
        and getattr(layer, "blur", None) is None
    )


def stem_for(block: nn.Module, dtype: torch.dtype, shape: Shape, *, pooled: bool) -> "Stem | None":
    """Return a network's first convolution as a `Stem`, if a card is faster with it: it is tried.

    Args:
        block: the layer, of a network without batch norm.
        dtype: that it computes in.
        shape: of the network's input.
        pooled: whether a maximum of 2 x 2 pixels follows.
    """
    if not can_be_stem(block, dtype):
        return None
    stem, device = Stem(block, dtype, 2 if pooled else 1), block.conv.weight.device
    conv: Any = deepcopy(block.conv).to(dtype)
    conv = conv.to(memory_format=torch.channels_last)
    x = torch.rand(TRIED, *shape, device=device).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)

    def plain(x: Tensor) -> Tensor:
        """Compute it by cuDNN.

        Biases are added by the kernel of the activation, and both by that of a pooling.
        """
        y = F.conv2d(x, conv.weight, None, conv.stride, conv.padding)
        if not pooled:
            return activate(block.activation, y, in_place=True)
        return F.max_pool2d(y, 2, 2, ceil_mode=True)

    with torch.inference_mode():
        try:
            want = activate(block.activation, conv(x))
            want = F.max_pool2d(want, 2, 2, ceil_mode=True) if pooled else want
            error = float((stem(x) - want).abs().max() / want.abs().max())
            is_faster = error < TOLERANCE and (
                milliseconds(stem, [(x,)]) < milliseconds(plain, [(x,)])
            )
        except Exception as error:
            warn(f"the first convolution is left to cuDNN: {type(error).__name__}: {error}")
            return None
    return stem if is_faster else None


class Stem(nn.Module):
    """A convolution of 3 x 3 pixels of three channels, its activation, and maximum pooling.

    Args:
        block: what `can_be_stem` accepts.
        dtype: that it computes in; sums are float32.
        pool: side and stride of the windows of the pooling; 1 is none.
    """

    def __init__(self, block: ConvBlock, dtype: torch.dtype, pool: int = 1) -> None:
        super().__init__()
        weight = block.conv.weight.detach().to(dtype)
        rows = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])  # (27, filters)
        self.register_buffer("weight", rows.contiguous(), persistent=False)
        bias = block.conv.bias
        zeros = torch.zeros(weight.shape[0], device=weight.device)
        self.register_buffer(
            "bias", zeros if bias is None else bias.detach().float(), persistent=False
        )
        self.stride, self.pool = block.conv.stride[0], pool
        self.activation = block.activation

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, 3, H, W) -> (B, filters, H', W') in its type, channels last in memory."""
        weight, bias = self.get_buffer("weight"), self.get_buffer("bias")
        x = x.to(weight.dtype).contiguous(memory_format=torch.channels_last)
        y = torch.ops.darknet_torch.stem(x, weight, bias, self.stride, self.pool, self.activation)
        return cast(Tensor, y)


def _sides(x: Tensor, stride: int, pool: int) -> tuple[int, int]:
    """Return height and width of the output."""
    height, width = ((side - 1) // stride + 1 for side in x.shape[2:])
    return -(-height // pool), -(-width // pool)  # a window may reach beyond


def _empty_output(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int, pool: int, activation: str
) -> Tensor:
    size = (len(x), weight.shape[1], *_sides(x, stride, pool))
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _stem(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int, pool: int, activation: str
) -> Tensor:
    from darknet_torch.speed import stem_kernel

    y = _empty_output(x, weight, bias, stride, pool, activation)
    stem_kernel.launch(x, weight, bias, y, stride, pool, activation)
    return y


_LIBRARY = torch.library.Library("darknet_torch", "FRAGMENT")
_LIBRARY.define(
    "stem(Tensor x, Tensor weight, Tensor bias, int stride, int pool, str activation) -> Tensor"
)
_LIBRARY.impl("stem", _stem, "CompositeExplicitAutograd")
torch.library.register_fake("darknet_torch::stem", _empty_output, lib=_LIBRARY)
