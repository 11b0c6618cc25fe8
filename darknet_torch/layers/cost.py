"""[cost]: a loss of Darknet's training; its output is zeros."""

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.layers.base import Layer, Shape
from darknet_torch.layers.registry import layer
from darknet_torch.layers.truth import NO_LABEL, Loss, LossContext, Truth, compared
from darknet_torch.parsing.dialect import PJREDDIE
from darknet_torch.parsing.options import option

_Differences = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _squared(values: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    loss = (truth - values).square()
    return loss / 2, loss


def _absolute(values: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    loss = (truth - values).abs()
    return loss, loss


def _smooth(values: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    loss = F.smooth_l1_loss(values, truth, reduction="none")
    return loss, 2 * loss


def _smooth_reversed(values: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    loss, cost = _smooth(values, truth)
    return torch.where((truth - values).abs() < 1, loss, -loss), cost


def _wasserstein(values: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    loss = torch.where(truth > 0, -values, values)
    return loss, torch.where(truth != 0, -values, values)


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

    def loss(self, raw: Tensor, truth: Truth, context: LossContext) -> Loss | None:
        """Return the sum of the differences' squares (sse, seg, masked), or what `type` says.

        `scale` is a factor of the gradient, not of the cost; `noobj` weighs values whose truth is
        0 (seg), `thresh` / n is the least gradient that counts. `ratio` has no effect in Darknet.

        Args:
            raw: (B, ...) the layer's input.
            truth: `values` (B, n); NO_LABEL is not compared, if `type` is masked.
            context: not used.

        Raises:
            UsageError: the ground truth has not as many values.
        """
        values, expected = compared(raw, truth)
        if self.smooth:  # of the labels
            expected = expected * (1 - self.smooth) + self.smooth / expected.shape[1]
        losses, costs = self._differences()(values, expected)
        weight = self._weight(expected)
        part = self.scale * (losses * weight * self._counts(values.detach(), expected)).sum()
        return Loss({"cost": part}, (costs * weight).sum().detach())

    def _differences(self) -> _Differences:
        """Return the function of values and truth that gives the losses and the costs."""
        smooth = _smooth_reversed if self.dialect.smooth_cost_reversed else _smooth
        known: dict[str, _Differences] = {"smooth": smooth}
        if self.dialect.knows(PJREDDIE):
            known |= {"L1": _absolute, "wgan": _wasserstein}
        return known.get(self.type, _squared)

    def _weight(self, truth: Tensor) -> Tensor:
        """Return the weight of each difference."""
        if self.type == "masked":
            return (truth != NO_LABEL).to(truth.dtype)
        weight = torch.ones_like(truth)
        return torch.where(truth == 0, self.noobj, weight) if self.type == "seg" else weight

    def _counts(self, values: Tensor, truth: Tensor) -> Tensor:
        """Return which gradients are as large as `thresh` / n."""
        if not self.thresh:
            return torch.ones_like(truth)
        with torch.enable_grad():
            values = values.requires_grad_()
            losses, _ = self._differences()(values, truth)
            (gradient,) = torch.autograd.grad((losses * self._weight(truth)).sum(), values)
        return (gradient.abs() >= self.thresh / truth.shape[1]).to(truth.dtype)
