"""[cost], [contrastive], [iseg]: layers that Darknet trains with."""

import torch
from torch import Tensor

from darknet_torch.layers.base import Layer, Shape, layer
from darknet_torch.parsing.dialect import ALEXEYAB, PJREDDIE
from darknet_torch.parsing.options import option


@layer("cost")
class Cost(Layer):
    """[cost]: a loss of training; its output is all zeros, the result is the layer before."""

    type: str = option("sse")
    scale: float = option(1.0)
    ratio: float = option(0.0)
    noobj: float = option(1.0, only=PJREDDIE)
    thresh: float = option(0.0, only=PJREDDIE)

    def shape(self, *inputs: Shape) -> Shape:
        """Return a vector of as many zeros."""
        return Shape(inputs[0].size)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return zeros (B, n)."""
        return torch.zeros_like(inputs[0].flatten(1))


@layer("contrastive", only=ALEXEYAB)
class Contrastive(Layer):
    """[contrastive]: a loss of training; Darknet's CPU code leaves its output at zero."""

    classes: int = option(1000, check=lambda n: n > 0, wanted="at least 1")
    temperature: float = option(1.0)
    yolo_layer: int = option(0)
    cls_normalizer: float = option(1.0)
    max_delta: float = option(3.4e38)
    contrastive_neg_max: int = option(3)

    def shape(self, *inputs: Shape) -> Shape:
        """Return a vector of as many zeros."""
        return Shape(inputs[0].size)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return zeros (B, n)."""
        return torch.zeros_like(inputs[0].flatten(1))


@layer("iseg", only=PJREDDIE)
class Iseg(Layer):
    """[iseg]: instance segmentation, (B, classes + ids, h, w), the classes' channels squashed."""

    classes: int = option(20, check=lambda n: n > 0, wanted="at least 1")
    ids: int = option(32, check=lambda n: n >= 0, wanted="at least 0")
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
        """Squash the classes, keep the ids."""
        x = inputs[0]
        return torch.cat((torch.sigmoid(x[:, : self.classes]), x[:, self.classes :]), dim=1)
