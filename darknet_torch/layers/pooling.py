"""[maxpool], [local_avgpool], [avgpool]: maximum or mean of sliding windows or of whole maps."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_torch.layers.base import Layer, Shape
from darknet_torch.layers.blocks import Blur
from darknet_torch.layers.geometry import MaxWindow, window_count
from darknet_torch.layers.registry import layer
from darknet_torch.layers.traced import is_symbolic, is_traced
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import option

PADDED_MAX = 1 << 26
"""Most values of a padded map, over all channels; more is an error unless the map is large too."""


@dataclass(frozen=True, kw_only=True)
class Window(Layer):
    """A window that slides over the map; `padding` is the sum of the pixels on both sides."""

    stride: int = option(1, check=lambda n: n > 0, expected="at least 1")
    stride_x: int = option(
        lambda o: o.stride, only=ALEXEYAB, check=lambda n: n > 0, expected=">= 1"
    )
    stride_y: int = option(
        lambda o: o.stride, only=ALEXEYAB, check=lambda n: n > 0, expected=">= 1"
    )
    size: int = option(lambda o: o.stride, check=lambda n: n > 0, expected="at least 1")
    padding: int = option(lambda o: o.size - 1, check=lambda n: n >= 0, expected="at least 0")

    @property
    def strides(self) -> tuple[int, int]:
        """Strides (vertical, horizontal) of the window itself."""
        return self.stride_y, self.stride_x

    @property
    def sides(self) -> tuple[int, int]:
        """Padding (left and top, right and bottom); the first is the smaller half."""
        return self.padding // 2, self.padding - self.padding // 2

    def shape(self, *inputs: Shape) -> Shape:
        """Return (h + padding - size) / stride + 1 in height, likewise in width."""
        c, h, w = inputs[0].map()
        padded = c * (h + self.padding) * (w + self.padding)
        if padded > max(PADDED_MAX, 4 * inputs[0].size):
            raise ValueError(f"padding={self.padding}: far too much for {w} x {h} pixels")
        return Shape(
            c,
            window_count(h + self.padding, self.size, self.strides[0]),
            window_count(w + self.padding, self.size, self.strides[1]),
        )

    def pad(self, x: Tensor, value: float) -> Tensor:
        """Pad the map with `value`."""
        before, after = self.sides
        return F.pad(x, (before, after, before, after), value=value) if self.padding else x


@layer("maxpool", "max")
class MaxPool(Window):
    """[maxpool]: maximum of each window, without the pixels outside the map."""

    antialiasing: int = option(0, only=ALEXEYAB)
    maxpool_depth: bool = option(False, only=ALEXEYAB)
    out_channels: int = option(1, only=ALEXEYAB, check=lambda n: n > 0, expected="at least 1")
    maxpool_zero_nonmax: bool = option(False, only=ALEXEYAB)

    @property
    def strides(self) -> tuple[int, int]:
        """Strides (vertical, horizontal) of the window; with antialiasing the blur has them."""
        return (1, 1) if self.antialiasing else (self.stride_y, self.stride_x)

    @property
    def max_window(self) -> MaxWindow | None:
        """The window, unless it is over channels, or a blur follows."""
        if self.maxpool_depth or self.antialiasing:
            return None
        return MaxWindow(self.size, self.strides, self.sides)

    def shape(self, *inputs: Shape) -> Shape:
        """Return (c, h', w'), or (out_channels, h, w) for maxpool_depth."""
        if not self.maxpool_depth:
            c, h, w = super().shape(*inputs)
            if self.antialiasing:
                h, w = Blur.shape(self.antialiasing, h, w, self.stride_y, self.stride_x)
            return Shape(c, h, w)
        c, h, w = inputs[0].map()
        if c < self.out_channels:
            raise ValueError(f"out_channels={self.out_channels}: only {c} channels before it")
        return Shape(self.out_channels, h, w)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the pooling, followed by the blur of `antialiasing` if there is one."""
        module = super().build(*shapes)
        if self.antialiasing and not self.maxpool_depth:
            return nn.Sequential(module, Blur(self.antialiasing, (self.stride_y, self.stride_x)))
        return module

    def forward(self, *inputs: Tensor) -> Tensor:
        """Pool (B, c, h, w)."""
        x = inputs[0]
        if self.maxpool_depth:
            return self._over_channels(x)
        before, after = self.sides
        if before == after and before <= self.size // 2:
            return _max_pool2d(x, self.size, self.strides, before)
        if (before, after, self.size, *self.strides) == (0, 1, 2, 2, 2):
            return _max_pool2d(x, self.size, self.strides, ceil_mode=True)  # no copy of the map
        return _max_pool2d(self.pad(x, _lowest(x)), self.size, self.strides)

    def _over_channels(self, x: Tensor) -> Tensor:
        """Maximum of the channels g, g + out_channels, g + 2 * out_channels ..."""
        groups = self.out_channels
        missing = -x.shape[1] % groups
        x = F.pad(x, (0, 0, 0, 0, 0, missing), value=_lowest(x))
        return torch.unflatten(x, 1, (-1, groups)).amax(dim=1)


def _lowest(x: Tensor) -> float:
    """Return the lowest number of a tensor's type."""
    if is_symbolic(x):  # torch.finfo reads its type out of memory that is something else
        raise TypeError("the type of a symbolic tensor is not known")
    return torch.finfo(x.dtype).min


def _max_pool2d(
    x: Tensor, size: int, strides: tuple[int, int], padding: int = 0, *, ceil_mode: bool = False
) -> Tensor:
    """F.max_pool2d that keeps x's memory format; computed in channels last on a CPU, far faster."""
    inner = x
    if not is_traced(x) and x.device.type == "cpu":
        inner = x.contiguous(memory_format=torch.channels_last)
    y = F.max_pool2d(inner, size, strides, padding, ceil_mode=ceil_mode)
    return y if inner is x else y.clone(memory_format=torch.contiguous_format)


@layer("local_avgpool", "local_avg", only=ALEXEYAB)
class LocalAvgPool(Window):
    """[local_avgpool]: mean of each window, without the pixels outside the map."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Pool (B, c, h, w)."""
        x = inputs[0]
        mean = F.avg_pool2d(self.pad(x, 0), self.size, self.strides)
        inside = F.avg_pool2d(self.pad(torch.ones_like(x[:1, :1]), 0), self.size, self.strides)
        return mean / inside


@layer("avgpool", "avg")
class AvgPool(Layer):
    """[avgpool]: mean of each channel, (B, c, h, w) -> (B, c, 1, 1)."""

    def shape(self, *inputs: Shape) -> Shape:
        """Return (c, 1, 1)."""
        return Shape(inputs[0].map().c, 1, 1)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Average over the pixels."""
        return inputs[0].mean(dim=(2, 3), keepdim=True)
