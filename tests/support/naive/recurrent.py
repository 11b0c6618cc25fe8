"""Layers that remember: matrices or convolutions on the input and on the last state."""

import numpy as np

from naive.net import IllegalError, Layer, section
from naive.numbers import Array, activate, correlate, logistic, normalize
from naive.weighted import batch_norm_floats, column, connect, matrix


def _remembered(layer: Layer, name: str, *shape: int) -> Array:
    return layer.memory.setdefault(name, np.zeros(shape))


@section("rnn")
def rnn(layer: Layer) -> Array:
    output = layer.integer("output", 1)
    hidden = layer.integer("hidden", 1) if layer.alexey else output
    name = layer.word("activation", "logistic")
    own = {1: "logistic", 2: "loggy"}.get(layer.only_alexey("logistic", 0), name)
    state = _remembered(layer, "state", hidden)
    new = activate(name, connect(layer, layer.x, hidden), layer.fork)
    new = new + activate(own, connect(layer, state, hidden), layer.fork)
    if layer.integer("shortcut", 0):
        new = new + state
    layer.memory["state"] = new
    out = activate(name, connect(layer, new, output), layer.fork)
    return column(out) if layer.alexey else out


class _Matrices:
    """Connected blocks whose floats stand in the file in another order than they are used."""

    def __init__(self, layer: Layer, names: str, n: int) -> None:
        self.layer, self.n, self.blocks = layer, n, {}
        for name in names.split():
            inputs = n if name[0] == "w" else layer.x.size
            biases = layer.take("biases", n)
            weights = matrix(layer, n, inputs)
            normalized = layer.integer("batch_normalize", 0)
            self.blocks[name] = biases, weights, batch_norm_floats(layer, n) if normalized else None

    def __call__(self, name: str, x: Array) -> Array:
        biases, weights, bn = self.blocks[name]
        out = weights @ x.reshape(-1)
        return (out if bn is None else normalize(out, *bn, self.layer.fork)) + biases


@section("gru")
def gru(layer: Layer) -> Array:
    n, x = layer.integer("output", 1), layer.x
    m = _Matrices(layer, "uz ur uh wz wr wh" if layer.alexey else "wz wr wh uz ur uh", n)
    s = _remembered(layer, "state", n)
    z = logistic(m("uz", x) + m("wz", s))
    r = logistic(m("ur", x) + m("wr", s))
    h = m("uh", x) + m("wh", r * s)
    h = np.tanh(h) if layer.only_pjreddie("tanh", 0) else logistic(h)
    layer.memory["state"] = z * s + (1 - z) * h
    return layer.memory["state"]


@section("lstm")
def lstm(layer: Layer) -> Array:
    n, x = layer.integer("output", 1), layer.x
    order = "wf wi wg wo uf ui ug uo" if layer.alexey else "wi wf wo wg ui uf uo ug"
    m = _Matrices(layer, order, n)
    h, c = _remembered(layer, "state", n), _remembered(layer, "cell", n)
    f, i, o = (logistic(m(f"w{gate}", h) + m(f"u{gate}", x)) for gate in "fio")
    c = f * c + i * np.tanh(m("wg", h) + m("ug", x))
    layer.memory.update(state=o * np.tanh(c), cell=c)
    out = layer.memory["state"]
    return column(out) if layer.alexey else out


class _Convolution:
    """A convolution that keeps height and width, with its floats."""

    def __init__(self, layer: Layer, c: int, n: int, activation: str) -> None:
        self.layer, self.activation = layer, layer.word("activation", activation)
        k = layer.only_alexey("size", 3)
        self.xnor = layer.only_alexey("xnor", 0)
        self.groups = 1 if self.xnor else layer.only_alexey("groups", 1)
        self.dilation = layer.only_alexey("dilation", 1) if k > 1 else 1
        if layer.alexey:
            self.pad = k // 2 if layer.integer("pad", 0) else layer.integer("padding", 0)
        else:
            self.pad = 1
        if 2 * self.pad + 1 != k or c % self.groups or n % self.groups:
            raise IllegalError("size, padding or groups")
        fan_in = c // self.groups * k * k
        self.biases = layer.take("biases", n)
        self.bn = batch_norm_floats(layer, n) if layer.integer("batch_normalize", 0) else None
        self.weights = layer.take("weights", n, c // self.groups, k, k, fan_in=fan_in)

    def __call__(self, x: Array) -> Array:
        weights, outside = self.weights, 0.0
        if self.xnor:  # only AlexeyAB has it here: outside is -1
            mean = np.abs(weights).mean(axis=(1, 2, 3), keepdims=True)
            x, outside = np.where(x > 0, 1.0, -1.0), -1.0
            weights = np.where(weights > 0, mean, -mean)
        out = correlate(
            x, weights, pad=self.pad, dilation=self.dilation, groups=self.groups, outside=outside
        )
        if self.bn is not None:
            out = normalize(out, *self.bn, self.layer.fork)
        return activate(self.activation, out + column(self.biases), self.layer.fork)


@section("crnn")
def crnn(layer: Layer) -> Array:
    names = ("hidden", "output") if layer.alexey else ("hidden_filters", "output_filters")
    hidden, output = (layer.integer(name, 1) for name in names)
    x = layer.map()
    blocks = [
        _Convolution(layer, c, n, "logistic")
        for c, n in ((len(x), hidden), (hidden, hidden), (hidden, output))
    ]
    state = _remembered(layer, "state", hidden, *x.shape[1:])
    new = blocks[0](x) + blocks[1](state)
    if layer.integer("shortcut", 0):
        new = new + state
    layer.memory["state"] = new
    return blocks[2](new)


@section("conv_lstm", fork="alexeyab")
def conv_lstm(layer: Layer) -> Array:
    x, n = layer.map(), layer.integer("output", 1)
    if layer.integer("bottleneck", 0) or layer.integer("shortcut", 0):
        raise IllegalError("exists on GPUs only")
    peephole = layer.integer("peephole", 0)
    order = ("vf vi vo " if peephole else "") + "wf wi wg wo uf ui ug uo"
    m = {
        name: _Convolution(layer, len(x) if name[0] == "u" else n, n, "linear")
        for name in order.split()
    }
    h, c = (_remembered(layer, name, n, *x.shape[1:]) for name in ("state", "cell"))

    def gate(letter: str, cell: Array) -> Array:
        total = m[f"w{letter}"](h) + m[f"u{letter}"](x)
        return logistic(total + m[f"v{letter}"](cell)) if peephole else logistic(total)

    f, i = gate("f", c), gate("i", c)
    c = f * c + i * np.tanh(m["wg"](h) + m["ug"](x))
    out = gate("o", c) * np.tanh(c)
    limit = layer.real("state_constrain", 32)
    layer.memory.update(state=out, cell=np.clip(c, -limit, limit))
    return out
