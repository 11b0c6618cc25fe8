"""[local]: a locally connected layer, a convolution with filters of its own at each pixel."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_torch.layers.activation import activate
from darknet_torch.layers.base import Layer, Segment, Shape
from darknet_torch.layers.geometry import window_count
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.options import Activation, option


@layer("local")
class Local(Layer):
    """[local]: locally connected, (B, c, h, w) -> (B, filters, h', w')."""

    filters: int = option(1, check=lambda n: n > 0, expected="at least 1")
    size: int = option(1, check=lambda n: n > 0, expected="at least 1")
    stride: int = option(1, check=lambda n: n > 0, expected="at least 1")
    pad: int = option(0)
    activation: Activation = option(Activation("logistic"))

    def shape(self, *inputs: Shape) -> Shape:
        """Return (filters, h', w'); here `pad` is the padding on each side in pixels."""
        _, h, w = inputs[0].map()
        if self.pad not in (0, 1) or (self.pad and self.size != 3):
            raise ValueError(f"pad={self.pad}: must be 0, or 1 with size=3, not size={self.size}")
        window = 1 if self.pad else self.size  # size 3 with a padding of 1
        h, w = (window_count(side, window, self.stride) for side in (h, w))
        return Shape(self.filters, h, w)

    def fixed(self, *shapes: Shape) -> object:
        """Return the output's shape: each of its pixels has weights of its own."""
        return self.shape(*shapes)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the module with its parameters."""
        return LocalModule(self, shapes[0])

    def weights(self, *shapes: Shape) -> Iterable[Segment]:
        """Yield biases[n][y][x], then weights[y * width + x][n][c][k][k]."""
        fan_in = shapes[0].c * self.size**2
        out = self.shape(*shapes)
        yield Segment("biases", "bias", (out.c * out.h * out.w,), fan_in)
        yield Segment("weights", "weight", (out.h * out.w, self.filters, fan_in), fan_in)

    def flops(self, *shapes: Shape) -> int:
        """Two operations for each weight."""
        return 2 * self.shape(*shapes).size * shapes[0].c * self.size**2


class LocalModule(nn.Module):
    """`weight` is (pixels, filters, c * k * k), `bias` (filters * pixels)."""

    def __init__(self, layer: Local, shape: Shape) -> None:
        super().__init__()
        self.layer, self.out = layer, layer.shape(shape)
        pixels = self.out.h * self.out.w
        fan_in = shape.c * layer.size**2
        self.weight = nn.Parameter(torch.empty(pixels, layer.filters, fan_in))
        self.bias = nn.Parameter(torch.empty(layer.filters * pixels))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer's output."""
        layer, out = self.layer, self.out
        columns = F.unfold(x, layer.size, padding=layer.pad, stride=layer.stride)
        y = (self.weight @ columns.permute(2, 1, 0)).permute(2, 1, 0)
        y = y.flatten(1) + self.bias
        return activate(layer.activation, y.view(-1, out.c, out.h, out.w))
