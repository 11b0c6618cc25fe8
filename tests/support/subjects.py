"""Networks to try out: official cfgs, real models, any cfg with random weights.

Official cfgs that have an answer key get its weights and its reduced size, the others random
weights at a small size, real models their own weights and photos.
"""

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import torch
from keys import OFFICIAL_CFG, SHARED, Key, floats_of, mini, official, official_names, uniform
from keys import write_weights as write_floats
from PIL import Image
from torch import Tensor

import darknet_torch as dt
from darknet_torch.errors import DarknetWarning, ShapeError
from darknet_torch.network import Network
from darknet_torch.network.plan import Node, Plan
from darknet_torch.parsing.options import Mode

MODELS = SHARED / "models"
PHOTOS = SHARED / "photos"

PJREDDIE_ONLY = {"alexeyab/resnet50", "alexeyab/resnet101", "alexeyab/resnet152"}
"""Files in AlexeyAB's repository whose strided shortcuts his own program refuses."""

MISMATCHED = {"yolo-lite-trial8-mismatch"}
"""Models whose weights belong to another cfg."""

Size = tuple[int, int]
SMALL: tuple[Size, ...] = ((96, 128), (128, 160), (128, 192), (128, 256), (256, 256))
"""Sizes (height, width) for cfgs without a key: the first that the layers accept."""

GAINS = (1.0, 0.7, 0.5, 0.35)
"""Scales of random weights for cfgs without a key: the first with which no layer explodes."""

_CHUNK = 1 << 20

SIZE_BOUND = {"connected", "conn", "local", "detection"}
"""Sections that fix the size of the map before them."""

SIZE_FREE = {"avgpool", "avg", "crop"}
"""Sections whose output is of one size, whatever the image's."""

DOWN = {"convolutional", "conv", "maxpool", "max", "local_avgpool", "local", "reorg", "reorg3d"}
UP = {"upsample", "deconvolutional", "deconv"}


@dataclass(frozen=True)
class Subject:
    """A network under test, and the way to load it again at another size."""

    name: str
    cfg: str | Path
    weights: Path
    network: Network
    mode: Mode

    @property
    def plan(self) -> Plan:
        return self.network.plan

    @property
    def size(self) -> Size:
        """Height and width of the input."""
        return self.plan.input.h, self.plan.input.w

    @property
    def real(self) -> bool:
        """Whether somebody trained it."""
        return self.name.startswith("models/")

    def load(self, size: Size) -> Network:
        """Return the network anew, from the same weights file, for another size of input."""
        return _load(self.cfg, self.weights, self.plan.context.dialect.name, self.mode, size)

    def images(self, number: int, size: Size | None = None) -> Tensor:
        """Return so many different inputs (number, c, h, w) or (number, c)."""
        shape = self.plan.input
        one = (shape.c,) if shape.is_vector else (shape.c, *(size or self.size))
        return torch.stack([photo(i, one) if self.real else noise(i, one) for i in range(number)])


def names() -> list[str]:
    """Return the names of all official cfgs and real models at hand."""
    paths = sorted(OFFICIAL_CFG.rglob("*.cfg"))
    cfgs = [path.relative_to(OFFICIAL_CFG).as_posix().removesuffix(".cfg") for path in paths]
    folders = (path for path in sorted(MODELS.glob("*")) if path.name not in MISMATCHED)
    return cfgs + [f"models/{path.name}" for path in folders if len(_model_files(path)) == 2]


def files(name: str) -> list[Path]:
    """Return the files that a network is made from."""
    if name.startswith("models/"):
        return _model_files(SHARED / name)
    key = key_of(name)
    return [OFFICIAL_CFG / f"{name}.cfg", *([key.path] if key else [])]


def make(name: str, weights: Path) -> Subject:
    """Return the network of that name; a weights file is made at `weights` if it needs one.

    name: of an official cfg (`alexeyab/tiny`), a model (`models/cifar-small`), or of one of this
        project's answer keys (`gaussian_yolo.alexeyab`).
    """
    if name.startswith("models/"):
        cfg, weights = files(name)
        return Subject(name, cfg, weights, _load(cfg, weights, "alexeyab", "darknet"), "darknet")
    if "/" not in name:
        key = mini(name)
        return _keyed(name, key.cfg, key, weights, key.fork)
    cfg, found_key = OFFICIAL_CFG / f"{name}.cfg", key_of(name)
    dialect = "pjreddie" if name in PJREDDIE_ONLY else name.partition("/")[0]
    if found_key is None:
        return randomized(name, cfg, weights, dialect)
    return _keyed(name, cfg, found_key, weights, dialect)


def _keyed(name: str, cfg: Path, key: Key, weights: Path, dialect: str) -> Subject:
    """Return a network with the weights of an answer key, at its size."""
    key.write_weights(weights)
    width, height = (key.content["override"].get(side) for side in ("width", "height"))
    size = (height, width) if height and width else None
    return Subject(name, cfg, weights, _load(cfg, weights, dialect, key.mode, size), key.mode)


def randomized(
    name: str, cfg: str | Path, weights: Path, dialect: str, sizes: Iterable[Size] = SMALL
) -> Subject:
    """Return a network with random weights at the first size that is possible."""
    plan = _first_plan(cfg, dialect, sizes)
    size = None if plan.input.is_vector else (plan.input.h, plan.input.w)
    for gain in GAINS:
        write_floats(weights, "new", random_floats(plan, gain))
        one = Subject(name, cfg, weights, _load(cfg, weights, dialect, "normal", size), "normal")
        if largest(one) < 1e3:
            break
    return one


def random_floats(plan: Plan, gain: float) -> Iterator[np.ndarray]:
    """Yield the floats of a weights file, of the kinds and spreads of the answer keys."""
    first = 0
    for segment in (segment for node in plan for segment in node.segments):
        for start in range(0, segment.count, _CHUNK):
            u = uniform(1, first + start, min(_CHUNK, segment.count - start))
            yield floats_of(segment.kind, u, segment.fan_in, gain)
        first += segment.count


def largest(one: Subject) -> float:
    """Return the largest magnitude in any layer; infinite for NaN."""
    with torch.inference_mode():
        values = [float(out.abs().max()) for out in one.network.activations(one.images(1))]
    return math.inf if any(map(math.isnan, values)) else max(values)


def _first_plan(cfg: str | Path, dialect: str, sizes: Iterable[Size]) -> Plan:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DarknetWarning)
        own = dt.plan(cfg, dialect=dialect)
        for height, width in sizes if own.input.h else ():
            with suppress(ShapeError):
                return dt.plan(cfg, dialect=dialect, width=width, height=height)
    return own


def _load(
    cfg: str | Path, weights: Path, dialect: str, mode: Mode, size: Size | None = None
) -> Network:
    height, width = size or (None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DarknetWarning)
        return dt.load(cfg, weights, dialect=dialect, mode=mode, width=width, height=height)


def key_of(name: str) -> Key | None:
    """Return the answer key of an official cfg, if there is one."""
    same_cfg = [key for key in _official_keys() if key.content["cfg"] == f"{name}.cfg"]
    return min(same_cfg, key=lambda key: key.fork != name.partition("/")[0], default=None)


@cache
def _official_keys() -> Sequence[Key]:
    return [official(name) for name in official_names()]


def _model_files(folder: Path) -> list[Path]:
    return [*folder.glob("*.cfg"), *folder.glob("*.weights")]


def noise(number: int, shape: tuple[int, ...]) -> Tensor:
    """Return a random image."""
    values = uniform(10 + number, 0, math.prod(shape)).astype(np.float32)
    return torch.from_numpy(values).view(shape)


def photo(number: int, shape: tuple[int, ...]) -> Tensor:
    """Return a photo (c, h, w), stretched."""
    paths = sorted(PHOTOS.glob("*.jpg"))
    channels, height, width = shape
    with Image.open(paths[number % len(paths)]) as image:
        pixels = image.convert("RGB").resize((width, height))
    values = torch.from_numpy(np.asarray(pixels, np.float32) / 255).permute(2, 0, 1)
    return values[:channels].contiguous()


def fixes_size(plan: Plan) -> bool:
    """Return whether a layer that needs one size of map gets its map from the whole image."""
    grows = {-1: True}
    for node in plan:
        here = any(grows[index] for index in node.inputs)
        if here and node.name in SIZE_BOUND:
            return True
        grows[node.index] = here and node.name not in SIZE_FREE
    return plan.input.is_vector


def stride(plan: Plan) -> Size:
    """Return the steps (vertical, horizontal) in which an image may grow, from the text of the cfg.

    `Plan.stride` measures maps instead, and is too small where the size is no multiple.
    """
    steps: dict[int, tuple[Fraction, Fraction] | None] = {-1: (Fraction(1), Fraction(1))}
    for node in plan:
        sources = [step for index in node.inputs if (step := steps[index]) is not None]
        free = not sources or node.name in SIZE_FREE
        steps[node.index] = None if free else _steps_behind(node, sources[0])
    known = [step for step in steps.values() if step is not None]
    rows, columns = (math.lcm(*(math.ceil(each[i]) for each in known)) for i in (0, 1))
    return rows, columns


def _steps_behind(node: Node, before: tuple[Fraction, Fraction]) -> tuple[Fraction, Fraction]:
    if node.name not in UP | DOWN:
        return before
    both = getattr(node.layer, "stride", 1)
    y, x = (abs(getattr(node.layer, f"stride_{axis}", 0) or both) for axis in "yx")
    backwards = both < 0 or getattr(node.layer, "reverse", False)
    grows = (node.name in UP) != backwards
    return (before[0] / y, before[1] / x) if grows else (before[0] * y, before[1] * x)
