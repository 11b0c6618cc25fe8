"""The walk over the layers: options, sources, floats, memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from darknet_torch.parsing.parser import Section
from naive.numbers import Array, activate, atof, atoi


class IllegalError(Exception):
    """A network that Darknet refuses, or whose computation would leave its memory."""


class Source(Protocol):
    """Where the floats of a weights file come from."""

    def take(self, kind: str, count: int, fan_in: int) -> Array: ...


class Floats:
    """The floats of a file, one after the other; `taken` is what they were read as."""

    def __init__(self, values: Array) -> None:
        self.values, self.position = values, 0
        self.taken: list[tuple[str, int]] = []

    def take(self, kind: str, count: int, fan_in: int) -> Array:
        values = self.values[self.position : self.position + count]
        if len(values) != count:
            raise EOFError(f"{kind}: {count} floats expected, {len(values)} left")
        self.position += count
        self.taken.append((kind, count))
        return values


class Drawn:
    """Random floats of a sane size, kept in the order of the requests."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.pieces: list[Array] = []

    def take(self, kind: str, count: int, fan_in: int) -> Array:
        low, high = {
            "weights": (-((3 / fan_in) ** 0.5) * 1.3, (3 / fan_in) ** 0.5 * 1.3),
            "scales": (0.5, 1.5),
            "rolling_variance": (0.5, 1.5),
            "shortcut_weights": (-0.25, 1.25),
        }.get(kind, (-0.3, 0.3))
        self.pieces.append(self.random.uniform(low, high, count).astype(np.float32))
        return self.pieces[-1]

    @property
    def values(self) -> Array:
        return np.concatenate([np.zeros(0, np.float32), *self.pieces])


@dataclass
class Layer:
    """One section while it runs. `x` is the output of the section before."""

    net: "Net"
    index: int
    section: Section
    x: Array
    memory: dict[str, Array] = field(default_factory=dict)
    """What it remembers from call to call."""
    floats: list[Array] = field(default_factory=list)
    """What it took from the file at its first call."""
    calls: int = 0

    @property
    def fork(self) -> str:
        return self.net.fork

    @property
    def alexey(self) -> bool:
        return self.net.fork == "alexeyab"

    def integer(self, key: str, default: int) -> int:
        value = self.section.get(key)
        return default if value is None else atoi(value)

    def real(self, key: str, default: float) -> float:
        value = self.section.get(key)
        return default if value is None else atof(value)

    def word(self, key: str, default: str) -> str:
        return self.section.get(key) or default

    def integers(self, key: str) -> list[int]:
        value = self.section.get(key)
        return [] if value is None else [atoi(item) for item in value.split(",")]

    def only_alexey(self, key: str, default: int) -> int:
        return self.integer(key, default) if self.alexey else default

    def only_pjreddie(self, key: str, default: int) -> int:
        return default if self.alexey else self.integer(key, default)

    def map(self) -> Array:
        if self.x.ndim != 3:
            raise IllegalError("needs a map of pixels before it")
        return self.x

    def source(self, number: int) -> int:
        index = self.index + number if number < 0 else number
        if not 0 <= index < self.index:
            raise IllegalError(f"layer {number} is not before layer {self.index}")
        return index

    def output(self, number: int) -> Array:
        return self.net.outputs[self.source(number)]

    def take(self, kind: str, *shape: int, fan_in: int = 1, missing: bool = False) -> Array:
        """The next floats of this layer; from the file (or not, if missing) at the first call."""
        if self.calls == len(self.floats):
            missing = missing or bool(self.integer("dontload", 0))
            source: Source = self.net.initial if missing else self.net.floats
            count = int(np.prod(shape))
            self.floats.append(source.take(kind, count, fan_in).astype(np.float64))
        self.calls += 1
        return self.floats[self.calls - 1].reshape(shape)

    def take_rows(self, kind: str, n: int, *shape: int, fan_in: int = 1) -> Array:
        """The same of n filters, of which `numload` may leave the last ones without floats."""
        m = self.only_pjreddie("numload", 0) or n
        there = self.take(kind, m, *shape, fan_in=fan_in)
        if m == n:
            return there
        return np.concatenate([there, self.take(kind, n - m, *shape, fan_in=fan_in, missing=True)])

    def activate(self, x: Array, default: str) -> Array:
        return activate(self.word("activation", default), x, self.fork)


Function = Callable[[Layer], Array]
REGISTRY: dict[tuple[str, str], Function] = {}
"""(fork, section) -> its computation."""


def section(*names: str, fork: str = "") -> Callable[[Function], Function]:
    def register(function: Function) -> Function:
        for each in (fork,) if fork else ("pjreddie", "alexeyab"):
            for name in names:
                assert (each, name) not in REGISTRY
                REGISTRY[each, name] = function
        return function

    return register


class Net:
    """A network that keeps floats and memory from one `run` to the next.

    initial: floats that no file fills (`dontload`, `numload`).
    transposed: the file keeps connected matrices as (inputs, outputs).
    """

    def __init__(
        self, fork: str, floats: Source, initial: Any = None, transposed: bool = False
    ) -> None:
        self.fork, self.floats, self.initial, self.transposed = fork, floats, initial, transposed
        self.sections: Sequence[Section] = ()
        self.layers: dict[int, Layer] = {}
        self.outputs: list[Array] = []

    def run(self, sections: Sequence[Section], x: Array) -> list[Array]:
        """Outputs of all layers; the first section is [net]."""
        self.sections, self.outputs = sections[1:], []
        for each in self.sections:
            self.append(each, x)
        return self.outputs

    def append(self, each: Section, x: Array) -> Array:
        """Run the next layer; x: the network's input."""
        index = len(self.outputs)
        before = self.outputs[-1] if self.outputs else x.astype(np.float64)
        layer = self.layers.setdefault(index, Layer(self, index, each, before))
        layer.x, layer.calls = before, 0
        with np.errstate(all="ignore"):  # 0 / 0 is Darknet's NaN too
            out = REGISTRY[self.fork, each.name](layer)
        if not out.size:
            raise IllegalError("nothing is left")
        self.outputs.append(out)
        return out
