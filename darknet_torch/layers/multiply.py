"""[scale_channels], [sam]: products of two layers."""

from dataclasses import dataclass

from torch import Tensor

from darknet_torch.layers.activation import activate
from darknet_torch.layers.base import Layer, Shape, absolute
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import Activation, option


@dataclass(frozen=True, kw_only=True)
class Product(Layer):
    """The layer before times the layer `from`, then the activation."""

    source: int = option(0, key="from")
    activation: Activation = option(Activation("linear"))

    def inputs(self, index: int) -> tuple[int, ...]:
        """Return the layer before and the source."""
        if self.section.get("from") is None:
            raise ValueError("from= is missing; it names the layer to multiply")
        return (index - 1, absolute(self.source, index))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Multiply, one pixel or one channel standing for all where there is only one."""
        return activate(self.activation, inputs[0] * inputs[1])


@layer("scale_channels", only=ALEXEYAB)
class ScaleChannels(Product):
    """[scale_channels]: a factor for each channel, c x 1 x 1; with `scale_wh` for each pixel."""

    scale_wh: bool = option(False)

    def shape(self, *inputs: Shape) -> Shape:
        """Return the source's shape."""
        factor, source = (shape.map() for shape in inputs)
        wanted = Shape(1, source.h, source.w) if self.scale_wh else Shape(source.c, 1, 1)
        if factor != wanted:
            raise ValueError(f"needs {wanted} before it, to scale {source}, not {factor}")
        return source


@layer("sam", only=ALEXEYAB)
class Sam(Product):
    """[sam]: spatial attention, element by element."""

    def shape(self, *inputs: Shape) -> Shape:
        """Return the common shape."""
        if inputs[0] != inputs[1]:
            raise ValueError(f"needs two layers of one shape, not {inputs[0]} and {inputs[1]}")
        return inputs[0]
