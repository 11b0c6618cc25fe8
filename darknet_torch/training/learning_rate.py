"""The learning rate of a batch: all policies of [net] in both forks."""

import math
import random
from collections.abc import Callable

import numpy as np

from darknet_torch.network.net_section import Net
from darknet_torch.parsing.dialect import Dialect

__all__ = ["rate"]

PI = 3.14159265
"""As AlexeyAB's sgdr has it."""


def rate(net: Net, dialect: Dialect, batch_number: int, *, seed: int = 0) -> float:
    """Return the learning rate of a batch, as Darknet computes it.

    Args:
        net: options of [net]: learning_rate, policy, burn_in, power, steps, scales ...
        dialect: whose numbers; the forks differ in `policy=sigmoid`, and only AlexeyAB has sgdr.
        batch_number: of the batch, from 1: Darknet counts the images of a batch before it computes
            them, so that no batch of a training has the number 0.
        seed: of `policy=random`, whose rate is a pure function of seed and batch number.

    Raises:
        CfgError: an option that the policy divides by is missing.
    """
    base = _float32(net.learning_rate)
    policy = "constant" if net.policy in dialect.lacks_policies else net.policy
    if batch_number < net.burn_in:
        value = base * (batch_number / net.burn_in) ** _float32(net.power)
    elif policy == "random":
        drawn = random.Random(f"{seed} {batch_number}").random()
        value = base * drawn ** _float32(net.power)
    else:
        value = _POLICIES[policy](net, dialect, base, batch_number)
    return _float32(value)


def _float32(value: float) -> float:
    """Round as C does, which keeps options and rates in `float`."""
    return float(np.float32(value))


def _constant(_net: Net, _dialect: Dialect, base: float, _n: int) -> float:
    return base


def _step(net: Net, _dialect: Dialect, base: float, n: int) -> float:
    if net.step == 0:
        raise net.section.error("policy=step: step must not be 0")
    return base * _power(_float32(net.scale), int(n / net.step))


def _steps(net: Net, _dialect: Dialect, base: float, n: int) -> float:
    for step, scale in zip(net.steps, net.scales, strict=False):
        if step > n:
            break
        base = _float32(base * _float32(scale))
    return base


def _exp(net: Net, _dialect: Dialect, base: float, n: int) -> float:
    return base * _power(_float32(net.gamma), n)


def _poly(net: Net, _dialect: Dialect, base: float, n: int) -> float:
    if net.max_batches == 0:
        raise net.section.error("policy=poly: max_batches must be given")
    rest = _float32(1 - _float32(n / net.max_batches))
    power = _float32(net.power)
    if rest < 0 and not power.is_integer():
        return 0.0  # Darknet: not a number; but no batch comes after max_batches
    return base * _power(rest, power)


def _sigmoid(net: Net, dialect: Dialect, base: float, n: int) -> float:
    after = n - net.step
    if after < 0 and dialect.unsigned_batch_number:
        after += 2**64
    exponent = _float32(net.gamma) * after
    return base / (1 + math.exp(exponent)) if exponent < 700 else 0.0


def _sgdr(net: Net, _dialect: Dialect, base: float, n: int) -> float:
    """Cosine from the rate down to `learning_rate_min`, in cycles that grow."""
    if net.sgdr_cycle < 1 or net.sgdr_mult < 1:
        raise net.section.error("policy=sgdr: sgdr_cycle and sgdr_mult must be at least 1")
    start, cycle = 0, net.sgdr_cycle
    if net.sgdr_mult == 1:
        start = max(math.ceil(n / cycle) - 1, 0) * cycle
    while start + cycle < n:
        start, cycle = start + cycle, cycle * net.sgdr_mult
    least = _float32(net.learning_rate_min)
    return least + 0.5 * (base - least) * (1 + math.cos(float(n - start) * PI / cycle))


def _power(base: float, exponent: float) -> float:
    """Return what C's pow does: infinity where Python raises an error."""
    with np.errstate(all="ignore"):
        return float(np.power(np.float64(base), np.float64(exponent)))


_POLICIES: dict[str, Callable[[Net, Dialect, float, int], float]] = {
    "constant": _constant,
    "step": _step,
    "steps": _steps,
    "exp": _exp,
    "poly": _poly,
    "sigmoid": _sigmoid,
    "sgdr": _sgdr,
}
