"""Darknet's numbers: how C reads them, and the functions that several layers are made of."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def atoi(text: str) -> int:
    match = re.match(r"[+-]?[0-9]+", text)
    return int(match[0]) if match else 0


def atof(text: str) -> float:
    match = re.match(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text)
    return float(match[0]) if match else 0.0


def logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array, temperature: float = 1.0) -> Array:
    """Of one vector."""
    powers = np.exp((x - x.max()) / temperature)
    return powers / powers.sum()


def _elu(x: Array) -> Array:
    return np.where(x >= 0, x, np.exp(np.minimum(x, 0)) - 1)


def _plse(x: Array) -> Array:
    out = 0.125 * x + 0.5
    out = np.where(x < -4, 0.01 * (x + 4), out)
    return np.where(x > 4, 0.01 * (x - 4) + 1, out)


def _stair(x: Array) -> Array:
    f = np.floor(x)
    return np.where(f % 2 == 0, np.floor(x / 2), (x - f) + np.floor(x / 2))


def _mish(x: Array) -> Array:
    softplus = np.where(
        x > 20, x, np.where(x < -20, np.exp(x), np.log(1 + np.exp(np.clip(x, -20, 20))))
    )
    return x * np.tanh(softplus)


def _lhtan(x: Array) -> Array:
    return np.where(x < 0, 0.001 * x, np.where(x > 1, 0.001 * (x - 1) + 1, x))


def _hard_mish(x: Array) -> Array:
    return np.where(x > 0, x, np.where(x > -2, x * x / 2 + x, 0))


def _share(powers: Array) -> Array:
    return powers / (powers.sum(0) + 1e-4)


COMMON: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "logistic": logistic,
    "loggy": lambda x: 2 / (1 + np.exp(-x)) - 1,
    "relu": lambda x: np.maximum(x, 0),
    "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "relie": lambda x: np.where(x > 0, x, 0.01 * x),
    "ramp": lambda x: np.maximum(x, 0) + 0.1 * x,
    "elu": _elu,
    "selu": lambda x: np.where(x >= 0, 1.0507 * x, 1.0507 * 1.6732 * _elu(x)),
    "tanh": np.tanh,
    "plse": _plse,
    "stair": _stair,
    "hardtan": lambda x: np.clip(x, -1, 1),
    "lhtan": _lhtan,
}
ALEXEY: dict[str, Callable[[Array], Array]] = {
    "relu6": lambda x: np.minimum(np.maximum(x, 0), 6),
    "revleaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(0.797885 * x + 0.035677 * x**3)),
    "swish": lambda x: x * logistic(x),
    "mish": _mish,
    "hard_mish": _hard_mish,
    "normalize_channels": lambda x: _share(np.maximum(x, 0)),
    "normalize_channels_softmax": lambda x: _share(np.exp(x)),
    "normalize_channels_softmax_maxval": lambda x: _share(np.exp(x - x.max(0))),
}


def activate(name: str, x: Array, fork: str) -> Array:
    """An unknown name computes relu, and pjreddie does not know AlexeyAB's."""
    known = {**COMMON, **ALEXEY} if fork == "alexeyab" else COMMON
    return known.get(name, COMMON["relu"])(x)


def normalize(x: Array, scale: Array, mean: Array, variance: Array, fork: str) -> Array:
    """Batch norm of (c, ...), without the biases."""
    scale, mean, variance = (
        each.reshape(-1, *[1] * (x.ndim - 1)) for each in (scale, mean, variance)
    )
    if fork == "pjreddie":
        return scale * (x - mean) / (np.sqrt(variance) + 1e-6)
    return scale * (x - mean) / np.sqrt(variance + 1e-5)


def correlate(
    x: Array,
    weights: Array,
    strides: tuple[int, int] = (1, 1),
    pad: int = 0,
    dilation: int = 1,
    groups: int = 1,
    outside: float = 0.0,
) -> Array:
    """(c, h, w) and (n, c / groups, k, k) -> (n, h', w'); the size formula ignores dilation."""
    n, per_group, k, _ = weights.shape
    _, h, w = x.shape
    (sy, sx), edge = strides, pad * dilation
    rows, columns = (h + 2 * pad - k) // sy + 1, (w + 2 * pad - k) // sx + 1
    x = np.pad(x, ((0, 0), (edge, edge), (edge, edge)), constant_values=outside)
    out = np.zeros((n, max(rows, 0), max(columns, 0)))
    for f in range(n):
        first = f // (n // groups) * per_group
        for i in range(rows):
            for j in range(columns):
                top, left = i * sy, j * sx
                window = x[
                    first : first + per_group,
                    top : top + (k - 1) * dilation + 1 : dilation,
                    left : left + (k - 1) * dilation + 1 : dilation,
                ]
                out[f, i, j] = (window * weights[f]).sum()
    return out


def blur(x: Array, kind: int, strides: tuple[int, int]) -> Array:
    """The fixed filter of `antialiasing`, channel by channel."""
    if kind == 2:
        kernel, pad = np.full((2, 2), 0.25), 0
    else:
        kernel, pad = np.outer([1, 2, 1], [1, 2, 1]) / 16, 1
    return np.concatenate(
        [correlate(x[c : c + 1], kernel[None, None], strides, pad) for c in range(len(x))]
    )
