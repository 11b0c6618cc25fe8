"""Batch norm in training with Darknet's own kernels, in place of torch's.

torch (like cuDNN, which Darknet uses on graphics cards) divides by the biased variance of the batch
and keeps the unbiased one. Darknet's own code divides by the unbiased one too, and its backward
pass is not quite the derivative: N - 1 in the variance is N there, and epsilon is another. Both
train; this one repeats the numbers of Darknet without cuDNN.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from darknet_torch.errors import UsageError
from darknet_torch.network.network import Network
from darknet_torch.parsing.dialect import Dialect

__all__ = ["Kernels", "darknet_batch_norm", "kernels_of"]

EPSILON = 1e-5
"""Of the backward pass, in both forks."""


@dataclass(frozen=True)
class Kernels:
    """What differs between Darknet's kernels of batch norm.

    Attributes:
        epsilon: of the forward pass.
        inside_root: whether it divides by sqrt(variance + epsilon), or by sqrt(variance) + epsilon.
        momentum: what the running statistics take from each batch.
        biases_learn: False: biases get no gradient.
        backward_inside_root: the same question for the factor of the output's gradient.
    """

    epsilon: float = EPSILON
    inside_root: bool = True
    momentum: float = 0.01
    biases_learn: bool = True
    backward_inside_root: bool = True

    def deviation(self, variance: Tensor) -> Tensor:
        """Return what the forward pass divides by, (C,)."""
        if self.inside_root:
            return (variance + self.epsilon).sqrt()
        return variance.sqrt() + self.epsilon

    def backward_deviation(self, variance: Tensor) -> Tensor:
        """Return what the backward pass divides the output's gradient by, (C,)."""
        if self.backward_inside_root:
            return (variance + EPSILON).sqrt()
        return variance.sqrt() + EPSILON


def kernels_of(dialect: Dialect, *, cpu_defects: bool = False) -> Kernels:
    """Return the kernels of a fork.

    Args:
        dialect: the fork; pjreddie's epsilon is outside of the root, as at inference.
        cpu_defects: those of AlexeyAB's code for processors: it moves the running statistics ten
            times as fast, and its biases learn nothing.
    """
    kernels = Kernels(dialect.batch_norm_epsilon, dialect.epsilon_inside_root)
    if cpu_defects and dialect.cpu_batch_norm_defects:
        return Kernels(
            kernels.epsilon,
            kernels.inside_root,
            momentum=0.1,
            biases_learn=False,
            backward_inside_root=False,
        )
    return kernels


@contextmanager
def darknet_batch_norm(network: Network, kernels: Kernels | None = None) -> Iterator[None]:
    """Let a network train with Darknet's own batch norm until the block ends.

    Parameters, buffers, their names, and what it computes in eval mode stay as they are.

    Args:
        network: the network.
        kernels: None: those of its dialect.
    """
    kernels = kernels_of(network.plan.context.dialect) if kernels is None else kernels
    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in norms:
        norm.forward = MethodType(_forward(kernels), norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _forward(kernels: Kernels) -> Callable[[nn.BatchNorm2d, Tensor], Tensor]:
    def forward(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
        if not norm.training:
            return type(norm).forward(norm, x)
        count = x.numel() // x.shape[1]
        if count < 2:
            raise UsageError("batch norm needs more than one value of each channel to train")
        rows = x.to(torch.promote_types(x.dtype, torch.float32))
        y, mean, variance = _Norm.apply(  # type: ignore[no-untyped-call]
            rows, norm.weight, norm.bias, kernels
        )
        with torch.no_grad():
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.lerp_(mean.to(norm.running_mean), kernels.momentum)
            norm.running_var.lerp_(variance.to(norm.running_var), kernels.momentum)
        output: Tensor = y.to(x.dtype)
        return output

    return forward


class _Norm(torch.autograd.Function):
    """Batch norm of (B, C, H, W) with the unbiased variance, and Darknet's backward pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, kernels: Kernels
    ) -> tuple[Tensor, Tensor, Tensor]:
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=1)
        normal = (x - _channels(mean)) / _channels(kernels.deviation(variance))
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.kernels = kernels
        ctx.mark_non_differentiable(mean, variance)
        return normal * _channels(weight) + _channels(bias), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        x, weight, mean, variance = ctx.saved_tensors
        kernels: Kernels = ctx.kernels
        gradient, centred = gradients[0], x - _channels(mean)
        count = x.numel() // x.shape[1]
        normal = centred / _channels(kernels.deviation(variance))
        of_bias, of_weight = _sum(gradient), _sum(gradient * normal)
        gradient = gradient * _channels(weight)
        root = (variance + EPSILON).sqrt()
        of_mean = -_sum(gradient) / root
        of_variance = _sum(gradient * centred) * -0.5 / root**3
        of_x = (
            gradient / _channels(kernels.backward_deviation(variance))
            + _channels(of_variance * 2 / count) * centred
            + _channels(of_mean / count)
        )
        return of_x, of_weight, of_bias if kernels.biases_learn else None, None


def _channels(values: Tensor) -> Tensor:
    return values[:, None, None]


def _sum(values: Tensor) -> Tensor:
    return values.sum(dim=(0, 2, 3))
