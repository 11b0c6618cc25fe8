"""[iseg]: instance segmentation."""

import torch
from torch import Tensor

from darknet_torch.layers.base import Layer, Shape
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import PJREDDIE
from darknet_torch.parsing.options import option


@layer("iseg", only=PJREDDIE)
class Iseg(Layer):
    """[iseg]: instance segmentation, (B, classes + ids, h, w): class scores and embeddings.

    A sigmoid is applied to the class scores only.
    """

    classes: int = option(20, check=lambda n: n > 0, expected="at least 1")
    ids: int = option(32, check=lambda n: n >= 0, expected="at least 0")
    max: int = option(90)

    def shape(self, *inputs: Shape) -> Shape:
        """Return the map's shape; ValueError if its channels are not classes + ids."""
        c, _, _ = inputs[0].map()
        if c != self.classes + self.ids:
            raise ValueError(
                f"{self.classes} classes and {self.ids} ids need {self.classes + self.ids} filters"
                f" before them, not {c}"
            )
        return inputs[0]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Apply the sigmoid to the channels of the classes."""
        x = inputs[0]
        return torch.cat((torch.sigmoid(x[:, : self.classes]), x[:, self.classes :]), dim=1)
