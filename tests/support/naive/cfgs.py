"""Random legal cfgs: sections drawn one by one, each run by the naive evaluator to see its shape.

What the evaluator calls illegal, or what explodes, is drawn again, so nearly all cfgs are legal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from darknet_torch.parsing.parser import Option, Section, parse
from naive.net import Drawn, IllegalError, Net
from naive.numbers import ALEXEY, COMMON, Array

Options = dict[str, Any]
GOLDEN = Path(__file__).resolve().parents[2] / "golden"
"""Where the word tree is that the cfgs name."""
LARGEST = 1e6
"""Values above this make every comparison in float32 a matter of luck."""


@dataclass(frozen=True)
class Case:
    """A cfg, the floats of its weights file and an input (batch first)."""

    fork: str
    text: str
    floats: Array
    x: Array
    mode: str = "normal"
    version: tuple[int, int, int] = (0, 2, 5)

    @property
    def file(self) -> bytes:
        """The weights file."""
        major, minor, _ = self.version
        wide = major * 10 + minor >= 2 and (self.fork == "alexeyab" or max(self.version) < 1000)
        header = np.array([*self.version, *[0] * (2 if wide else 1)], "<i4")
        return header.tobytes() + self.floats.astype("<f4").tobytes()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Hypothesis shows what can be read: no floats."""
        case = f"{self.fork}, mode {self.mode}, version {self.version}, {self.floats.size} floats"
        printer.text(f"{case}:\n{self.text}")

    @property
    def sections(self) -> list[Section]:
        return parse(self.text, folder=GOLDEN)

    def has(self, *words: str) -> bool:
        """Whether a section or option of one of these names is in it."""
        names = {each.name for each in self.sections}
        for each in self.sections:
            names |= {word for o in each.options for word in (o.key, f"{o.key}={o.value}")}
        return bool(names & set(words))


def is_sane(out: Array) -> bool:
    """Whether the values are numbers, and such that float32 can compute with them."""
    return bool(np.isfinite(out).all() and np.abs(out).max() < LARGEST)


class Pen:
    """Draws options with a view of what stands already."""

    def __init__(self, draw: Callable[[Any], Any], fork: str, mode: str, major: int) -> None:
        self.draw, self.fork, self.mode = draw, fork, mode
        self.alexey = fork == "alexeyab"
        seed = draw(st.integers(0, 2**32 - 1))
        self.net = Net(fork, Drawn(seed), Drawn(seed + 1), major > 1000)
        self.sections: list[Section] = []

    @property
    def index(self) -> int:
        return len(self.net.outputs)

    @property
    def here(self) -> Array:
        return self.net.outputs[-1] if self.net.outputs else self.x

    @property
    def c(self) -> int:
        return len(self.here)

    @property
    def is_map(self) -> bool:
        return self.here.ndim == 3

    def start(self, x: Array, net: Options) -> None:
        self.x = x
        self.sections.append(make("net", net))

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def one_of(self, values: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(values))

    def chance(self, percent: int) -> bool:
        return self.number(0, 99) >= 100 - percent  # shrinks to no

    def some(self, **choices: Sequence[Any]) -> Options:
        """Each option with a value of its list, or left out."""
        return {
            key: self.one_of(list(values)) for key, values in choices.items() if self.chance(50)
        }

    def flags(self, percent: int, *keys: str) -> Options:
        return {key: 1 for key in keys if self.chance(percent)}

    def activation(self, percent: int = 75, pixelwise: bool = True) -> Options:
        if not self.chance(percent):
            return {}
        known = [*COMMON, *ALEXEY] if self.alexey or self.mode == "darknet" else [*COMMON]
        known += ["nonsense"] if self.mode == "darknet" else []
        known = [name for name in known if pixelwise or "channels" not in name]
        return {"activation": self.one_of(known)}

    def divisor(self, n: int) -> int:
        return self.one_of([d for d in range(1, n + 1) if n % d == 0])

    def earlier(self, fits: Callable[[Array], bool]) -> list[int]:
        """Indices of the layers whose outputs fit."""
        return [i for i, out in enumerate(self.net.outputs) if fits(out)]

    def reference(self, index: int) -> int:
        return index if self.chance(50) else index - self.index

    def add(self, name: str, options: Options) -> bool:
        """Append the section if it can be; return whether it could."""
        each, floats = make(name, options), self.net.floats
        kept, index = len(floats.pieces), self.index
        try:
            out = self.net.append(each, self.x)
            if out.size < 3000 and is_sane(out):
                self.sections.append(each)
                return True
        except IllegalError:
            pass
        del floats.pieces[kept:], self.net.outputs[index:]
        self.net.layers.pop(index, None)
        return False

    def return_to_a_map(self) -> None:
        """Go on from an earlier map, as few layers can follow a few values."""
        maps = self.earlier(lambda out: out.ndim == 3 and out.size >= 16)
        if maps and self.chance(70):
            self.add("route", {"layers": self.reference(self.one_of(maps))})

    def text(self) -> str:
        return "\n".join(
            "\n".join([f"[{each.name}]", *(f"{o.key}={o.value}" for o in each.options), ""])
            for each in self.sections
        )


def make(name: str, options: Options) -> Section:
    listed = tuple(Option(key, str(value)) for key, value in options.items())
    return Section(name, listed, folder=GOLDEN)


Drawer = Callable[["Pen"], Options | None]
KINDS: list[tuple[str, str, Drawer]] = []
"""Section, fork ("" for both), and what draws its options (None: it cannot stand here)."""


def kind(*names: str, fork: str = "") -> Callable[[Drawer], Drawer]:
    """Register what draws these sections; a section may have several such functions."""

    def register(function: Drawer) -> Drawer:
        KINDS.extend((name, fork, function) for name in names)
        return function

    return register


SHRINKING = (
    "connected conn rnn gru lstm cost detection softmax soft contrastive avg avgpool implicit"
).split()


@st.composite
def cases(draw: Callable[[Any], Any], only: Sequence[str] = (), batch: int = 1) -> Case:
    """Cfgs of two to eight layers; sections of `only` are favoured."""
    fork = draw(st.sampled_from(["pjreddie", "alexeyab"]))
    mode = draw(st.sampled_from(["normal"] * 5 + ["darknet"]))
    version = draw(st.sampled_from([(0, 2, 5), (0, 2, 0), (0, 1, 0), (1001, 0, 0), (0, 1001, 0)]))
    pen = Pen(draw, fork, mode, max(version))
    if pen.chance(15):
        n = pen.number(1, 12)
        shape, net = (n,), {"inputs": n}
    else:
        w, h, c = pen.number(4, 12), pen.number(4, 12), pen.number(1, 4)
        shape, net = (c, h, w), {"width": w, "height": h, "channels": c}
    seed = draw(st.integers(0, 2**32 - 1))
    x = np.random.default_rng(seed).uniform(0, 1, (batch, *shape)).astype(np.float32)
    pen.start(x[0], net)
    known = [each for each in KINDS if each[1] in ("", fork)]
    on_maps = [each for each in known if each[0] not in SHRINKING]
    favoured = [each for each in known if each[0] in only]
    count = pen.number(2, 8)
    for attempt in range(3 * count):
        if pen.index >= count:
            break
        if favoured and attempt % 3 == 0:
            name, _, function = pen.one_of(favoured)
        else:
            name, _, function = pen.one_of(known if pen.chance(30) else on_maps)
        options = function(pen)
        if options is not None and pen.add(name, options) and pen.here.size < 16:
            pen.return_to_a_map()
    if not pen.net.outputs:
        pen.add("connected", {"output": 3})
    return Case(fork, pen.text(), pen.net.floats.values, x, mode, version)
