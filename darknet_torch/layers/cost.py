"""[cost], [contrastive]: losses of Darknet's training; their outputs are zeros."""

from typing import ClassVar

import torch
from torch import Tensor

from darknet_torch.layers.base import Layer, Shape
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB, PJREDDIE
from darknet_torch.parsing.options import option


@layer("cost")
class Cost(Layer):
    """[cost]: a training loss; its output is zeros; the network's output is the layer before."""

    is_result: ClassVar[bool] = False

    type: str = option("sse")
    scale: float = option(1.0)
    ratio: float = option(0.0)
    noobj: float = option(1.0, only=PJREDDIE)
    thresh: float = option(0.0, only=PJREDDIE)

    def shape(self, *inputs: Shape) -> Shape:
        """Return a vector of the input's size."""
        return Shape(inputs[0].size)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return zeros (B, n)."""
        return torch.zeros_like(inputs[0].flatten(1))


@layer("contrastive", only=ALEXEYAB)
class Contrastive(Layer):
    """[contrastive]: a training loss; Darknet's CPU code leaves its output at zero."""

    classes: int = option(1000, check=lambda n: n > 0, expected="at least 1")
    temperature: float = option(1.0)
    yolo_layer: int = option(0)
    cls_normalizer: float = option(1.0)
    max_delta: float = option(3.4e38)
    contrastive_neg_max: int = option(3)

    def shape(self, *inputs: Shape) -> Shape:
        """Return a vector of the input's size."""
        return Shape(inputs[0].size)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return zeros (B, n)."""
        return torch.zeros_like(inputs[0].flatten(1))
