"""[deconvolutional]: transposed convolution, h -> (h - 1) * stride + size - 2 * padding."""

from collections.abc import Iterable

from torch import Tensor, nn

from darknet_torch.layers.activation import activate
from darknet_torch.layers.base import Layer, Segment, Shape
from darknet_torch.layers.blocks import batch_norm, fold_norm, norm_segments
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import PJREDDIE
from darknet_torch.parsing.options import Activation, option


@layer("deconvolutional", "deconv", only=PJREDDIE)
class Deconvolutional(Layer):
    """[deconvolutional]: transposed convolution, h -> (h - 1) * stride + size - 2 * padding."""

    filters: int = option(1, check=lambda n: n > 0, expected="at least 1")
    size: int = option(1, check=lambda n: n > 0, expected="at least 1")
    stride: int = option(1, check=lambda n: n > 0, expected="at least 1")
    pad: bool = option(False)
    padding: int = option(0, check=lambda n: n >= 0, expected="at least 0")
    batch_normalize: bool = option(False)
    activation: Activation = option(Activation("logistic"))

    @property
    def used_padding(self) -> int:
        """Pixels cropped from each side of the output."""
        return self.size // 2 if self.pad else self.padding

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape (filters, h', w')."""
        _, h, w = inputs[0].map()
        grow = self.size - 2 * self.used_padding
        out_h, out_w = ((n - 1) * self.stride + grow for n in (h, w))
        if min(out_h, out_w) < 1:
            raise ValueError(f"padding {self.used_padding}: nothing is left of {w} x {h} pixels")
        return Shape(self.filters, out_h, out_w)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the module with its parameters."""
        return Deconvolution(self, shapes[0].c)

    def weights(self, *shapes: Shape) -> Iterable[Segment]:
        """Yield biases, batch norm, weights[c][n][k][k]: the input's channels first."""
        c, k = shapes[0].c, self.size
        fan_in = max(1, c * (k // self.stride) ** 2)
        name = "bn" if self.batch_normalize else "conv"
        yield Segment("biases", f"{name}.bias", (self.filters,), fan_in)
        if self.batch_normalize:
            yield from norm_segments(self.filters, name, fan_in, stored=not self.dontloadscales)
        yield Segment("weights", "conv.weight", (c, self.filters, k, k), fan_in)

    def fold(self, module: nn.Module, *, as_detector: bool = False) -> dict[str, Tensor] | None:
        """Fold batch norm into the convolution."""
        if not isinstance(module, Deconvolution) or module.bn is None:
            return None
        weight, bias = fold_norm(module.conv, module.bn)
        return {"conv.weight": weight, "conv.bias": bias}

    def flops(self, *shapes: Shape) -> int:
        """Two operations for each weight and input pixel."""
        return 2 * self.filters * self.size**2 * shapes[0].size


class Deconvolution(nn.Module):
    """Transposed convolution, batch norm `bn` (or None), activation."""

    def __init__(self, layer: Deconvolutional, channels: int) -> None:
        super().__init__()
        self.activation = layer.activation
        self.conv = nn.ConvTranspose2d(
            channels,
            layer.filters,
            layer.size,
            layer.stride,
            layer.used_padding,
            bias=not layer.batch_normalize,
        )
        self.bn = batch_norm(layer.filters, layer.dialect) if layer.batch_normalize else None

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer's output."""
        x = self.conv(x)
        return activate(self.activation, x if self.bn is None else self.bn(x))
