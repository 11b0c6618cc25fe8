"""Layers with floats in the file: products of all kinds, batch norm, weighted sums."""

import numpy as np

from naive.net import IllegalError, Layer, section
from naive.numbers import Array, activate, blur, correlate, normalize

TRAINED_BY_MOVING = ("sway", "rotate", "stretch", "stretch_sway")
SIGNS_ARE_NOT_ENOUGH = ("shortcut", "scale_channels", "sam")


def matrix(layer: Layer, n: int, inputs: int) -> Array:
    """Weights (outputs, inputs) of a connected block."""
    if layer.net.transposed:
        return layer.take("weights", inputs, n, fan_in=inputs).T
    return layer.take("weights", n, inputs, fan_in=inputs)


def batch_norm_floats(layer: Layer, n: int, in_file: bool = True) -> tuple[Array, Array, Array]:
    """Scales, means, variances; what is not in the file is 1, 0, 0."""
    if not in_file:
        return np.ones(n), np.zeros(n), np.zeros(n)
    return (
        layer.take_rows("scales", n),
        layer.take_rows("rolling_mean", n),
        layer.take_rows("rolling_variance", n),
    )


def column(values: Array) -> Array:
    return values[:, None, None]


@section("convolutional", "conv")
def convolutional(layer: Layer) -> Array:
    x, n, k = layer.map(), layer.integer("filters", 1), layer.integer("size", 1)
    stride = layer.integer("stride", 1)
    strides = [layer.only_alexey(key, stride) for key in ("stride_y", "stride_x")]
    sy, sx = (each if each >= 1 else stride for each in strides)
    dilation = layer.only_alexey("dilation", 1) if k > 1 else 1
    pad = k // 2 if layer.integer("pad", 0) else layer.integer("padding", 0)
    xnor = layer.integer("xnor", 0)
    groups = 1 if xnor and layer.alexey else layer.integer("groups", 1)
    if len(x) % groups or n % groups:
        raise IllegalError("groups")
    if dilation > 1 and 2 * pad != k - 1:
        raise IllegalError("dilation")
    moved = sum(layer.only_alexey(key, 0) != 0 for key in TRAINED_BY_MOVING)
    if moved > 1 or (moved and k == 1):
        raise IllegalError("sway")
    biases, bn, weights = _parameters(layer, len(x), groups)
    smooth = layer.only_alexey("antialiasing", 0)
    how = {
        "strides": (1, 1) if smooth else (sy, sx),
        "pad": pad,
        "dilation": dilation,
        "groups": groups,
    }
    if xnor and layer.alexey:
        out = _folded_signs(x, biases, bn, weights, how)
    else:
        if xnor:
            x, weights = np.where(x > 0, 1.0, -1.0), _signs(weights)
        out = correlate(x, weights, **how)
        if bn is not None:
            out = normalize(out, *bn, layer.fork)
        out = out + column(biases)
    if not (xnor and layer.only_alexey("bin_output", 0) and _only_signs_are_read(layer)):
        out = layer.activate(out, "logistic")
    return blur(out, smooth, (sy, sx)) if smooth else out


def _parameters(layer: Layer, c: int, groups: int) -> tuple[Array, tuple | None, Array]:
    """Biases, batch norm or None, weights: in the order of the file; or another layer's."""
    if layer.alexey and layer.section.get("share_index") is not None:
        shared = layer.source(layer.integer("share_index", 0))
        layer.memory["parameters"] = layer.net.layers[shared].memory["parameters"]
        return layer.memory["parameters"][()]
    n, k = layer.integer("filters", 1), layer.integer("size", 1)
    fan_in = c // groups * k * k
    biases = layer.take_rows("biases", n)
    bn = None
    if layer.integer("batch_normalize", 0) or layer.only_alexey("cbn", 0):
        bn = batch_norm_floats(layer, n, not layer.integer("dontloadscales", 0))
    if layer.integer("flipped", 0):
        weights = layer.take("weights", fan_in, n, fan_in=fan_in).T
    else:
        weights = layer.take_rows("weights", n, fan_in, fan_in=fan_in)
    tensors = biases, bn, weights.reshape(n, c // groups, k, k)
    box = np.empty((), object)
    box[()] = tensors
    layer.memory["parameters"] = box
    return tensors


def _signs(weights: Array) -> Array:
    mean = np.abs(weights).mean(axis=(1, 2, 3), keepdims=True)
    return np.where(weights > 0, mean, -mean)


def _folded_signs(x: Array, biases: Array, bn: tuple | None, weights: Array, how: dict) -> Array:
    """AlexeyAB: batch norm goes into the weights before their signs are taken; outside is -1."""
    if bn is not None:
        scale, mean, variance = bn
        factor = scale / np.sqrt(variance + 1e-5)
        weights, biases = weights * factor[:, None, None, None], biases - mean * factor
    return correlate(np.where(x > 0, 1.0, -1.0), _signs(weights), outside=-1.0, **how) + column(
        biases
    )


def _only_signs_are_read(layer: Layer) -> bool:
    """No route or shortcut reads the layer, nor does a product or sum stand behind it."""
    for index, each in enumerate(layer.net.sections[layer.index + 1 :], layer.index + 1):
        reads = {"route": "layers", "shortcut": "from", "scale_channels": "from", "sam": "from"}
        named = (each.get(reads.get(each.name, "")) or "").split(",")
        numbers = [int(number) for number in named if number]
        if layer.index in [number if number >= 0 else index + number for number in numbers]:
            return False
        if index == layer.index + 1 and each.name in SIGNS_ARE_NOT_ENOUGH:
            return False
    return True


@section("deconvolutional", "deconv", fork="pjreddie")
def deconvolutional(layer: Layer) -> Array:
    x, n, k = layer.map(), layer.integer("filters", 1), layer.integer("size", 1)
    c, h, w = x.shape
    s = layer.integer("stride", 1)
    p = k // 2 if layer.integer("pad", 0) else layer.integer("padding", 0)
    normalized = layer.integer("batch_normalize", 0)
    biases = layer.take("biases", n)
    bn = batch_norm_floats(layer, n, not layer.integer("dontloadscales", 0)) if normalized else None
    weights = layer.take("weights", c, n, k, k, fan_in=c * k)
    whole = np.zeros((n, (h - 1) * s + k, (w - 1) * s + k))
    for i in range(h):
        for j in range(w):
            for ch in range(c):
                whole[:, i * s : i * s + k, j * s : j * s + k] += x[ch, i, j] * weights[ch]
    if min(whole.shape[1:]) <= 2 * p:
        raise IllegalError("nothing is left")
    out = whole[:, p : whole.shape[1] - p, p : whole.shape[2] - p]
    if bn is not None:
        out = normalize(out, *bn, layer.fork)
    return layer.activate(out + column(biases), "logistic")


def connect(layer: Layer, x: Array, n: int, scales_in_file: bool = True) -> Array:
    """A fully connected block with its floats: (…) -> (n,), not yet activated."""
    flat = x.reshape(-1)
    biases = layer.take("biases", n)
    weights = matrix(layer, n, len(flat))
    out = np.array([(row * flat).sum() for row in weights])
    if layer.integer("batch_normalize", 0):
        out = normalize(out, *batch_norm_floats(layer, n, scales_in_file), layer.fork)
    return out + biases


@section("connected", "conn")
def connected(layer: Layer) -> Array:
    in_file = not layer.integer("dontloadscales", 0)
    out = connect(layer, layer.x, layer.integer("output", 1), in_file)
    return layer.activate(column(out), "logistic")


@section("local")
def local(layer: Layer) -> Array:
    x, n, k = layer.map(), layer.integer("filters", 1), layer.integer("size", 1)
    c, h, w = x.shape
    s, pad = layer.integer("stride", 1), layer.integer("pad", 0)
    if pad and (pad, k) != (1, 3):
        raise IllegalError("pad=1 fits size=3 only")
    rows, columns = (((each - 1) if pad else (each - k)) // s + 1 for each in (h, w))
    if rows < 1 or columns < 1:
        raise IllegalError("too small")
    biases = layer.take("biases", n, rows, columns)
    weights = layer.take("weights", rows * columns, n, c, k, k, fan_in=c * k * k)
    x, out = np.pad(x, ((0, 0), (pad, pad), (pad, pad))), np.zeros((n, rows, columns))
    for i in range(rows):
        for j in range(columns):
            window = x[:, i * s : i * s + k, j * s : j * s + k]
            for f in range(n):
                out[f, i, j] = (window * weights[i * columns + j, f]).sum()
    return layer.activate(out + biases, "logistic")


@section("batchnorm")
def batchnorm(layer: Layer) -> Array:
    x = layer.map()
    biases = layer.take("biases", len(x)) if layer.alexey else np.zeros(len(x))
    return normalize(x, *batch_norm_floats(layer, len(x)), layer.fork) + column(biases)


@section("implicit", fork="alexeyab")
def implicit(layer: Layer) -> Array:
    filters, atoms = layer.integer("filters", 128), layer.integer("atoms", 1)
    return layer.take("implicit_weights", filters, atoms, 1)


@section("shortcut", fork="pjreddie")
def strided_shortcut(layer: Layer) -> Array:
    x, other = layer.map(), layer.output(layer.integer("from", 0))
    if other.ndim != 3:
        raise IllegalError("shortcut of a vector")
    (c2, h2, w2), (c1, h1, w1) = x.shape, other.shape
    if w1 // w2 != h1 // h2 or w2 // w1 != h2 // h1:
        raise IllegalError("ratios differ")
    step, rep = max(1, w1 // w2), max(1, w2 // w1)
    alpha, beta = layer.real("alpha", 1), layer.real("beta", 1)
    out = x.copy()
    for k in range(min(c1, c2)):
        for j in range(min(h1, h2)):
            for i in range(min(w1, w2)):
                value = alpha * x[k, j * rep, i * rep] + beta * other[k, j * step, i * step]
                out[k, j * rep, i * rep] = value
    return layer.activate(out, "linear")


@section("shortcut", fork="alexeyab")
def many_shortcut(layer: Layer) -> Array:
    x, kind = layer.map(), layer.word("weights_type", "none")
    sources = [layer.output(number) for number in layer.integers("from")]
    if any(each.ndim != 3 or each.shape[1:] != x.shape[1:] for each in sources):
        raise IllegalError("sizes differ")
    rows, columns = len(sources) + 1, len(x) if kind == "per_channel" else 1
    weights = np.ones((rows, columns))
    if kind != "none":
        weights = layer.take("shortcut_weights", rows, columns)
        if layer.word("weights_normalization", "none") == "softmax":
            powers = np.exp(weights - weights.max(0))
        else:
            powers = np.maximum(weights, 0)
        weights = powers / (1e-4 + powers.sum(0))
    weights = np.broadcast_to(weights, (rows, len(x)))
    out = np.zeros(x.shape)
    for q, each in enumerate([x, *sources]):
        for c in range(min(len(x), len(each))):
            out[c] += weights[q, c] * each[c]
    return activate(layer.word("activation", "linear"), out, layer.fork)
