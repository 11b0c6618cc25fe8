"""[history]: the feature maps of several time steps, concatenated."""

import torch.nn.functional as F
from torch import Tensor

from darknet_torch.layers.base import Layer, Shape
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import option


@layer("history", only=ALEXEYAB)
class History(Layer):
    """[history]: (B, c, h, w) -> (B, c * history_size, h, w).

    With one time step, as at inference, Darknet fills the first c channels and the others are 0.
    """

    history_size: int = option(4, check=lambda n: n > 0, expected="at least 1")

    def shape(self, *inputs: Shape) -> Shape:
        """Return (c * history_size, h, w)."""
        c, h, w = inputs[0].map()
        return Shape(c * self.history_size, h, w)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Append zeros."""
        x = inputs[0]
        return F.pad(x, (0, 0, 0, 0, 0, x.shape[1] * (self.history_size - 1)))
