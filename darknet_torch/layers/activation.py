"""[activation], [logistic], and the activation functions of all layers, by Darknet's names.

The formulas are those of both forks' activation tables. All are elementwise except the three
`normalize_channels`, which normalise each pixel over its channels.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.layers.base import Layer
from darknet_torch.layers.registry import layer
from darknet_torch.layers.traced import is_jit_traced
from darknet_torch.layers.truth import Loss, LossContext, Truth, compared
from darknet_torch.parsing.dialect import PJREDDIE
from darknet_torch.parsing.options import Activation, option

__all__ = ["activate"]


def _plse(x: Tensor) -> Tensor:
    middle = 0.125 * x + 0.5
    return torch.where(x < -4, 0.01 * (x + 4), torch.where(x > 4, 0.01 * (x - 4) + 1, middle))


def _stair(x: Tensor) -> Tensor:
    floor, half = x.floor(), (x.floor() * 0.5).floor()
    return torch.where(torch.remainder(floor, 2) == 0, half, (x - floor) + half)


def _lhtan(x: Tensor) -> Tensor:
    return torch.where(x < 0, 0.001 * x, torch.where(x > 1, 0.001 * (x - 1) + 1, x))


def _gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(0.797885 * x + 0.035677 * x * x * x))


def _hard_mish(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.where(x > -2, x * x / 2 + x, torch.zeros_like(x)))


def _normalize(weight: Tensor) -> Tensor:
    return weight / (weight.sum(dim=1, keepdim=True) + 1e-4)


_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "logistic": torch.sigmoid,
    "loggy": lambda x: 2 * torch.sigmoid(x) - 1,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "revleaky": lambda x: F.leaky_relu(x, 0.1),
    "relie": lambda x: F.leaky_relu(x, 0.01),
    "ramp": lambda x: F.relu(x) + 0.1 * x,
    "elu": F.elu,
    "selu": lambda x: 1.0507 * F.elu(x, alpha=1.6732),
    "gelu": _gelu,
    "tanh": torch.tanh,
    "plse": _plse,
    "stair": _stair,
    "hardtan": F.hardtanh,
    "lhtan": _lhtan,
    "swish": F.silu,
    "mish": F.mish,
    "hard_mish": _hard_mish,
    "normalize_channels": lambda x: _normalize(F.relu(x)),
    "normalize_channels_softmax": lambda x: _normalize(x.exp()),
    "normalize_channels_softmax_maxval": lambda x: _normalize(
        (x - x.amax(dim=1, keepdim=True)).exp()
    ),
}


_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "logistic": torch.sigmoid_,
    "relu": F.relu_,
    "relu6": lambda x: F.relu6(x, inplace=True),
    "leaky": lambda x: F.leaky_relu_(x, 0.1),
    "swish": lambda x: F.silu(x, inplace=True),
    "mish": lambda x: F.mish(x, inplace=True),
}


_GRADIENT_FROM_RESULT = {"logistic", "relu", "relu6", "leaky"}
"""Those of `_IN_PLACE` whose gradient needs the result only: a training keeps one map, not two."""


def activate(name: str, x: Tensor, *, in_place: bool = False) -> Tensor:
    """Apply an activation function.

    Args:
        name: Darknet's name of it.
        x: (B, C, H, W) or (B, N).
        in_place: overwrite x where that is possible, and where gradients are enabled, possible
            with the same gradient; without effect in traces, which would otherwise depend on that.
    """
    may = in_place and not is_jit_traced()
    if may and (name in _GRADIENT_FROM_RESULT or not torch.is_grad_enabled()):
        return _IN_PLACE.get(name, _FUNCTIONS[name])(x)
    return _FUNCTIONS[name](x)


@layer("activation")
class ActivationLayer(Layer):
    """[activation]: an activation function as a layer; the shape stays."""

    activation: Activation = option(Activation("linear"))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Apply the activation."""
        return activate(self.activation, inputs[0])


@layer("logistic", only=PJREDDIE)
class Logistic(Layer):
    """[logistic]: the logistic function as a layer, and its cross-entropy; the shape stays."""

    passes_gradient: ClassVar[bool] = True

    def forward(self, *inputs: Tensor) -> Tensor:
        """Apply the logistic function."""
        return torch.sigmoid(inputs[0])

    def loss(self, raw: Tensor, truth: Truth, context: LossContext) -> Loss | None:
        """Return the binary cross-entropy, summed; its gradient is probability - truth.

        Args:
            raw: (B, ...) the layer's input.
            truth: `values` (B, n): probabilities.
            context: not used.

        Raises:
            UsageError: the ground truth has not as many values.
        """
        scores, values = compared(raw, truth)
        loss = F.binary_cross_entropy_with_logits(scores, values, reduction="sum")
        return Loss({"class": loss}, loss.detach())
