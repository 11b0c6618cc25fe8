"""Modules that several layer types share: each fork's batch norm, blur, convolution, linear."""

from collections.abc import Iterator
from typing import Any, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_torch.layers.activation import activate
from darknet_torch.layers.base import Segment
from darknet_torch.layers.geometry import window_count
from darknet_torch.parsing.dialect import Dialect

__all__ = [
    "BatchNorm",
    "Blur",
    "ConvBlock",
    "Linear",
    "batch_norm",
    "conv_segments",
    "fold_norm",
    "has_plain_conv",
    "linear_segments",
    "norm_segments",
    "straight_through",
]


NO_EPSILON = 1e-30
"""Adds nothing to a variance, whose least is 1e-12; some versions of torch refuse 0."""


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that divides by sqrt(var) + eps at inference, as pjreddie's CPU code does.

    Negative variances of some published files are denormal zeros, hence the clamp.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) per channel."""
        if self.training or self.running_var is None:
            return super().forward(x)
        variance = self.running_var
        variance = variance.float() if variance.itemsize < 4 else variance
        variance = (variance.clamp_min(0).sqrt() + self.eps).square()  # would be 0 in float16
        others = (self.running_mean, self.weight, self.bias)
        mean, weight, bias = (cast(Tensor, each).to(variance.dtype) for each in others)
        return F.batch_norm(x, mean, variance, weight, bias, eps=NO_EPSILON)


def batch_norm(channels: int, dialect: Dialect) -> nn.BatchNorm2d:
    """Return the dialect's batch norm; its running statistics have a momentum of 0.01."""
    kind = nn.BatchNorm2d if dialect.epsilon_inside_root else BatchNorm
    return kind(channels, eps=dialect.batch_norm_epsilon, momentum=0.01)


@torch.no_grad()
def fold_norm(
    module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, norm: nn.BatchNorm2d
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a module with the batch norm after it folded in.

    They are computed in float64, on the processor as not every device has it, and returned in the
    type of the module's weight, where that is.
    """
    tensors = (module.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    matrix, factor, shift, mean, variance = (cast(Tensor, each).cpu().double() for each in tensors)
    if isinstance(norm, BatchNorm):
        deviation = variance.clamp_min(0).sqrt() + norm.eps
    else:
        deviation = (variance + norm.eps).sqrt()
    scale = factor / deviation
    axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
    shape = [-1 if dim == axis else 1 for dim in range(module.weight.dim())]
    weight, bias = matrix * scale.view(shape), shift - mean * scale
    return weight.to(module.weight), bias.to(module.weight)


def norm_segments(count: int, name: str, fan_in: int, *, stored: bool = True) -> Iterator[Segment]:
    """Yield the segments of a batch norm in file order: scales, means, variances."""
    prefix = f"{name}." if name else ""
    yield Segment("scales", f"{prefix}weight", (count,), fan_in, stored)
    yield Segment("rolling_mean", f"{prefix}running_mean", (count,), fan_in, stored)
    yield Segment("rolling_variance", f"{prefix}running_var", (count,), fan_in, stored)


class Blur(nn.Module):
    """The fixed low-pass filter of `antialiasing`.

    kind: 1 is the outer product of [1 2 1] with itself / 16, 2 is a mean of 2 x 2.
    strides: (vertical, horizontal).
    """

    def __init__(self, kind: int, strides: tuple[int, int]) -> None:
        super().__init__()
        row = torch.tensor([1.0, 1.0] if kind == 2 else [1.0, 2.0, 1.0], device="cpu")
        kernel = torch.outer(row, row) / row.sum() ** 2
        self.register_buffer("kernel", kernel[None, None], persistent=False)
        self.strides, self.padding = strides, 0 if kind == 2 else 1

    @staticmethod
    def shape(kind: int, h: int, w: int, stride_y: int, stride_x: int) -> tuple[int, int]:
        """Return height and width of the output."""
        window = 2 if kind == 2 else 1  # kind 1: a window of 3 with a padding of 1
        return window_count(h, window, stride_y), window_count(w, window, stride_x)

    def forward(self, x: Tensor) -> Tensor:
        """Blur each channel of (B, C, H, W)."""
        channels = x.shape[1]
        kernel = self.get_buffer("kernel").to(x.dtype).expand(channels, 1, -1, -1)
        return F.conv2d(x, kernel, stride=self.strides, padding=self.padding, groups=channels)


class ConvBlock(nn.Module):
    """Convolution, batch norm (`bn`, or None), activation.

    (B, channels, H, W) -> (B, filters, H', W'). With `xnor` the convolution is binary: the signs
    of the input with the signs of each filter, times the filter's mean magnitude.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        size: int,
        *,
        dialect: Dialect,
        activation: str,
        strides: tuple[int, int] = (1, 1),
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        normalized: bool = False,
        xnor: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels,
            filters,
            size,
            stride=strides,
            padding=padding * dilation,
            dilation=dilation,
            groups=groups,
            bias=not normalized,
        )
        self.bn = batch_norm(filters, dialect) if normalized else None
        self.activation, self.xnor, self.xnor_padding = activation, xnor, dialect.xnor_padding

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise or add biases, activate."""
        x = self._binary_convolution(x) if self.xnor else self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        return activate(self.activation, x, in_place=True)  # nobody else holds x

    def _binary_convolution(self, x: Tensor) -> Tensor:
        conv = self.conv
        scale = conv.weight.detach().abs().mean(dim=(1, 2, 3), keepdim=True)
        weight = torch.where(conv.weight > 0, scale, -scale)
        signs = torch.where(x > 0, 1.0, -1.0).to(x.dtype)
        if self.training:
            weight = straight_through(weight, conv.weight)
            signs = straight_through(signs, x, x.detach().abs() < 1)
        pad_y, pad_x = cast(tuple[int, int], conv.padding)
        signs = F.pad(signs, (pad_x, pad_x, pad_y, pad_y), value=self.xnor_padding)
        return F.conv2d(signs, weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def has_plain_conv(layer: nn.Module) -> TypeGuard[ConvBlock]:
    """Return whether a layer is a ConvBlock without batch norm, whose weights are as they stand."""
    return isinstance(layer, ConvBlock) and layer.bn is None and not layer.xnor


def straight_through(value: Tensor, source: Tensor, passes: Tensor | None = None) -> Tensor:
    """Return a tensor whose gradient goes to another one as it is.

    Signs have no gradient. Darknet's GPU code, too, hands that of binary weights on to the real
    ones, and that of binary values to those between -1 and 1.

    Args:
        value: of any shape; the result.
        source: what gets the gradient; it has as many values.
        passes: of the shape of `value`, True where the gradient passes; None: everywhere.
    """
    passed: Tensor = _StraightThrough.apply(source, value, passes)  # type: ignore[no-untyped-call]
    return passed


class _StraightThrough(torch.autograd.Function):
    """The value of one tensor with the gradient of another."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, value: Tensor, passes: Tensor | None) -> Tensor:
        ctx.passes, ctx.shape = passes, source.shape
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, None, None]:
        passed = gradient[0] if ctx.passes is None else gradient[0] * ctx.passes
        return passed.reshape(ctx.shape), None, None


def conv_segments(
    channels: int,
    filters: int,
    size: int,
    normalized: bool,
    prefix: str = "",
    *,
    flipped: bool = False,
    scales_stored: bool = True,
) -> Iterator[Segment]:
    """Yield the segments of a ConvBlock: biases, batch norm, weights[n][c / groups][k][k].

    channels: input channels of one filter, c / groups.
    """
    fan_in = channels * size * size
    name = f"{prefix}bn" if normalized else f"{prefix}conv"
    yield Segment("biases", f"{name}.bias", (filters,), fan_in)
    if normalized:
        yield from norm_segments(filters, name, fan_in, stored=scales_stored)
    shape = (filters, channels, size, size)
    yield Segment("weights", f"{prefix}conv.weight", shape, fan_in, flipped=flipped)


class Linear(nn.Module):
    """Linear layer `fc` and batch norm `bn` (or None): (B, ...) -> (B, outputs, 1, 1)."""

    def __init__(self, inputs: int, outputs: int, normalized: bool, dialect: Dialect) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, outputs, bias=not normalized)
        self.bn = batch_norm(outputs, dialect) if normalized else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the matrix, then normalise or add biases."""
        x = self.fc(x.flatten(1))[..., None, None]
        return x if self.bn is None else self.bn(x)


def linear_segments(
    inputs: int, outputs: int, normalized: bool, prefix: str = "", *, scales_stored: bool = True
) -> Iterator[Segment]:
    """Yield the segments of a Linear: biases, weights, and only then batch norm."""
    name = f"{prefix}bn" if normalized else f"{prefix}fc"
    yield Segment("biases", f"{name}.bias", (outputs,), inputs)
    yield Segment("weights", f"{prefix}fc.weight", (outputs, inputs), inputs, connected=True)
    if normalized:
        yield from norm_segments(outputs, name, inputs, stored=scales_stored)
