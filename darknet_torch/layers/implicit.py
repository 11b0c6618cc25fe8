"""[implicit]: learned values that do not depend on the image."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from darknet_torch.layers.base import Layer, Segment, Shape
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import option


@layer("implicit", only=ALEXEYAB)
class Implicit(Layer):
    """[implicit]: outputs its weights, (B, filters, atoms, 1), whatever its input is."""

    clips_weights: ClassVar[bool] = True

    filters: int = option(128, check=lambda n: n > 0, expected="at least 1")
    atoms: int = option(1, check=lambda n: n > 0, expected="at least 1")
    mean: float = option(0.0)
    std: float = option(0.2)

    def shape(self, *inputs: Shape) -> Shape:
        """Return (filters, atoms, 1)."""
        return Shape(self.filters, self.atoms, 1)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the module with its weights."""
        return ImplicitWeights(self)

    def weights(self, *shapes: Shape) -> Iterable[Segment]:
        """Yield the weights, filter by filter."""
        yield Segment("implicit_weights", "weight", (self.filters, self.atoms))


class ImplicitWeights(nn.Module):
    """The weights: `weight` is (filters, atoms)."""

    def __init__(self, layer: Implicit) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(layer.filters, layer.atoms))

    def forward(self, x: Tensor) -> Tensor:
        """Repeat the weights for each image of the batch."""
        return self.weight[None, :, :, None].repeat(x.shape[0], 1, 1, 1)
