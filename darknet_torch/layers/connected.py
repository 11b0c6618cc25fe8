"""[connected]: a fully connected (linear) layer."""

from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor, nn

from darknet_torch.layers.activation import activate
from darknet_torch.layers.base import Layer, Segment, Shape
from darknet_torch.layers.blocks import Linear, fold_norm, linear_segments
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.options import Activation, option


@layer("connected", "conn")
class Connected(Layer):
    """[connected]: (B, ...) -> (B, output, 1, 1); maps are flattened channel by channel."""

    outputs_option: ClassVar[str | None] = "output"

    output: int = option(1, check=lambda n: n > 0, expected="at least 1")
    activation: Activation = option(Activation("logistic"))
    batch_normalize: bool = option(False)

    def shape(self, *inputs: Shape) -> Shape:
        """Return a map of one pixel."""
        return Shape(self.output, 1, 1)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the linear layer with its parameters."""
        return ConnectedModule(self, shapes[0].size)

    def weights(self, *shapes: Shape) -> Iterable[Segment]:
        """Yield biases, weights[out][in], and only then batch norm."""
        yield from linear_segments(
            shapes[0].size,
            self.output,
            self.batch_normalize,
            scales_stored=not self.dontloadscales,
        )

    def fold(self, module: nn.Module, *, as_detector: bool = False) -> dict[str, Tensor] | None:
        """Fold batch norm into the matrix."""
        if not isinstance(module, ConnectedModule) or module.bn is None:
            return None
        weight, bias = fold_norm(module.fc, module.bn)
        return {"fc.weight": weight, "fc.bias": bias}

    def flops(self, *shapes: Shape) -> int:
        """Two operations for each weight."""
        return 2 * shapes[0].size * self.output


class ConnectedModule(Linear):
    """Linear layer `fc`, batch norm `bn` (or None), activation."""

    def __init__(self, layer: Connected, inputs: int) -> None:
        super().__init__(inputs, layer.output, layer.batch_normalize, layer.dialect)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, output, 1, 1) from (B, ...)."""
        return activate(self.layer.activation, super().forward(x))
