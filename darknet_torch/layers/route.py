"""[route]: the concatenated outputs of earlier layers, or of a group of channels of each."""

import torch
from torch import Tensor, nn

from darknet_torch.layers.base import Function, Layer, Shape
from darknet_torch.layers.geometry import absolute_index
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import option


@layer("route")
class Route(Layer):
    """[route]: concatenates channels; maps of different sizes become one vector."""

    layers: tuple[int, ...] = option((), check=bool, expected="a list of layers")
    groups: int = option(1, only=ALEXEYAB, check=lambda n: n > 0, expected="at least 1")
    group_id: int = option(0, only=ALEXEYAB, check=lambda n: n >= 0, expected="at least 0")
    stream: int = option(-1, only=ALEXEYAB)
    wait_stream: int = option(-1, only=ALEXEYAB)

    def inputs(self, index: int) -> tuple[int, ...]:
        """Return the layers of `layers`; the one before only if it is among them."""
        if not self.layers:
            raise ValueError("layers= is missing; it names the layers to concatenate")
        return tuple(absolute_index(number, index) for number in self.layers)

    def shape(self, *inputs: Shape) -> Shape:
        """Return (sum of c, h, w), or a vector where the maps differ in size."""
        if self.group_id >= self.groups:
            raise ValueError(f"group_id={self.group_id}: there are only {self.groups} groups")
        for shape in inputs:
            if shape.c % self.groups:
                raise ValueError(f"{self.groups} groups do not divide {shape.c} channels")
        if _mixed(inputs):
            return Shape(sum(shape.size // self.groups for shape in inputs))
        return Shape(sum(shape.c // self.groups for shape in inputs), *inputs[0][1:])

    def fixed(self, *shapes: Shape) -> object:
        """Return whether the maps differ in size."""
        return _mixed(shapes)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the concatenation, of vectors where the maps differ in size."""
        return FlatRoute(self) if _mixed(shapes) else Function(self)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Concatenate along the channels."""
        if self.groups > 1:
            inputs = tuple(x.chunk(self.groups, dim=1)[self.group_id] for x in inputs)
        return inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=1)


class FlatRoute(Function):
    """Concatenates flattened maps: (B, c, h, w) ... -> (B, n)."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the layer's output."""
        return super().forward(*(x.flatten(1) for x in inputs))


def _mixed(shapes: tuple[Shape, ...]) -> bool:
    return len({shape[1:] for shape in shapes}) > 1
