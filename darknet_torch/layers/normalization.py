"""[batchnorm], [normalization], [l2norm]: normalisation layers."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from darknet_torch.layers.base import Layer, Segment, Shape
from darknet_torch.layers.blocks import batch_norm, norm_segments
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import PJREDDIE
from darknet_torch.parsing.options import option


@layer("batchnorm")
class BatchNormLayer(Layer):
    """[batchnorm]: batch norm as a layer; the shape stays."""

    def shape(self, *inputs: Shape) -> Shape:
        """Return the map's shape."""
        return inputs[0].map()

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the batch norm."""
        return batch_norm(shapes[0].c, self.dialect)

    def weights(self, *shapes: Shape) -> Iterable[Segment]:
        """Yield biases (where the fork stores them), scales, means, variances."""
        c, stored = shapes[0].c, self.dialect.batch_norm_layer_biases
        yield Segment("biases", "bias", (c,), stored=stored)
        yield from norm_segments(c, "", 1)


@layer("normalization", "lrn")
class LocalResponse(Layer):
    """[normalization]: local response normalisation over neighbouring channels."""

    alpha: float = option(0.0001)
    beta: float = option(0.75)
    kappa: float = option(1.0)
    size: int = option(5, check=lambda n: n > 0, expected="at least 1")

    def shape(self, *inputs: Shape) -> Shape:
        """Return the map's shape."""
        return inputs[0].map()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Normalise (B, c, h, w).

        As Darknet's running sum does, channel size / 2 is subtracted though it was never added.
        """
        x = inputs[0]
        squares = self.alpha * x.square()
        norms = [self.kappa + squares[:, : self.size // 2].sum(dim=1)]
        for k in range(1, x.shape[1]):
            norm, leaves, enters = norms[-1], k - (self.size - 1) // 2 - 1, k + self.size // 2
            if leaves >= 0:
                norm = norm - squares[:, leaves]
            if enters < x.shape[1]:
                norm = norm + squares[:, enters]
            norms.append(norm)
        return x * torch.stack(norms, dim=1) ** -self.beta


@layer("l2norm", only=PJREDDIE)
class L2Norm(Layer):
    """[l2norm]: divides the channels of each pixel by their Euclidean norm."""

    def shape(self, *inputs: Shape) -> Shape:
        """Return the map's shape."""
        return inputs[0].map()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Normalise (B, c, h, w) over c."""
        return inputs[0] / inputs[0].square().sum(dim=1, keepdim=True).sqrt()
