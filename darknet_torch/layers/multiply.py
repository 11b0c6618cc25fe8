"""[scale_channels], [sam]: elementwise products of two layers' outputs."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from darknet_torch.layers.activation import activate
from darknet_torch.layers.base import Layer, Shape
from darknet_torch.layers.geometry import absolute_index
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import Activation, option


@dataclass(frozen=True, kw_only=True)
class Multiply(Layer):
    """The output of the layer before times that of the layer `from`, then an activation."""

    multiplies_outputs: ClassVar[bool] = True

    source: int = option(0, key="from")
    activation: Activation = option(Activation("linear"))

    def inputs(self, index: int) -> tuple[int, ...]:
        """Return the layer before and the source."""
        if self.section.get("from") is None:
            raise ValueError("from= is missing; it names the layer to multiply")
        return (index - 1, absolute_index(self.source, index))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Multiply with broadcasting over channels or pixels."""
        return activate(self.activation, inputs[0] * inputs[1])


@layer("scale_channels", only=ALEXEYAB)
class ScaleChannels(Multiply):
    """[scale_channels]: scales each channel by a factor (c, 1, 1); with `scale_wh` each pixel."""

    scale_wh: bool = option(False)

    def shape(self, *inputs: Shape) -> Shape:
        """Return the source's shape."""
        factor, source = (shape.map() for shape in inputs)
        expected = Shape(1, source.h, source.w) if self.scale_wh else Shape(source.c, 1, 1)
        if factor != expected:
            raise ValueError(f"needs {expected} before it, to scale {source}, not {factor}")
        return source


@layer("sam", only=ALEXEYAB)
class Sam(Multiply):
    """[sam]: spatial attention, the elementwise product of two maps of one shape."""

    def shape(self, *inputs: Shape) -> Shape:
        """Return the common shape."""
        if inputs[0] != inputs[1]:
            raise ValueError(f"needs two layers of one shape, not {inputs[0]} and {inputs[1]}")
        return inputs[0]
