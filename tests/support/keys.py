"""Darknet's answer keys: what its C programs computed, layer by layer, and the comparison with us.

A key is NAME.json + NAME.npz + a cfg. Weights and input are not stored but counted out: number i of
stream `seed` is

    u(seed, i) = (splitmix64(i + seed * GOLDEN) >> 40) / 2**24        in [0, 1)

and becomes a float of the weights file by the kind of its segment (`floats_of`). The first float
behind the header is number 0, and so on through the whole file, whatever the segments.
"""

import filecmp
import hashlib
import json
import math
import os
import struct
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

import darknet_torch as dt
from darknet_torch.errors import DarknetWarning
from darknet_torch.layers.base import Shape
from darknet_torch.network import Network, as_network
from darknet_torch.network.plan import Plan
from darknet_torch.parsing.options import Mode

Array = npt.NDArray[Any]

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
SHARED = ROOT.parent / "shared"
OFFICIAL = SHARED / "oracle" / "golden"
OFFICIAL_CFG = SHARED / "oracle" / "official_cfg"
NAMES = SHARED / "names"

DEVICE = os.environ.get("DARKNET_TORCH_CHECK_DEVICE", "cpu")
"""What answer keys are computed on; `tools/check --device` sets the variable."""

LIMIT = 1e-4
"""Largest error that passes, relative to the layer's largest magnitude."""

NEED_DARKNET_MODE = frozenset(
    {
        "act_alexey_names_in_pjreddie.pjreddie",
        "act_unknown_is_relu.alexeyab",
        "act_unknown_is_relu.pjreddie",
    }
)
"""Keys that live on what the C programs let pass: an unknown activation computes relu."""

STOCK_WRONG = {
    "act_relu6_stock_cpu.alexeyab": {0},  # relu6 is missing in the CPU's table: 0
    "activation_layer_alexey.alexeyab": {2, 4, 6, 8, 12},  # so are mish, swish ...: 0
    "conv_1x1_stride2.pjreddie": {1, 3, 5},  # size=1 reads its input without stride
    "crnn_pass1.pjreddie": {1, 2},  # width and height are swapped
    "crnn_pass2.pjreddie": {1, 2},
    "shortcut_act_hard_mish.alexeyab": {2},  # no such case in the CPU's [shortcut]: 0
    "shortcut_w_per_channel_relu_fused.alexeyab": {5, 6},  # its -.06 counts as .001
}
"""Layers in which the stock CPU program is wrong; test_answer_keys.py computes what is meant."""

STYLES: dict[str, tuple[str, int, int, int]] = {
    "new": ("<iiiQ", 0, 2, 5),
    "old": ("<iiiI", 0, 1, 0),
    "transposed32": ("<iiiI", 1001, 0, 0),
    "transposed64": ("<iiiQ", 1001, 0, 0),
}
"""Headers of weights files: layout, major, minor, revision."""

_SPLITMIX = 0x9E3779B97F4A7C15
_CHUNK = 1 << 20


def uniform(seed: int, first: int, count: int) -> Array:
    """Return the numbers `first` to `first + count - 1` of a stream, float64 in [0, 1)."""
    x = np.arange(count, dtype=np.uint64)
    x += np.uint64((first + (seed + 1) * _SPLITMIX) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(40)) * 2.0**-24


def floats_of(kind: str, u: Array, fan_in: int, gain: float) -> Array:
    """Return the file's float32 values of one kind from stream numbers."""
    if kind == "weights":
        return ((2 * u - 1) * (gain * math.sqrt(6 / fan_in))).astype("<f4")
    slope, start = {
        "biases": (0.2, -0.1),
        "rolling_mean": (0.2, -0.1),
        "scales": (1.0, 0.5),
        "rolling_variance": (1.0, 0.5),
        "shortcut_weights": (1.5, -0.25),
        "implicit_weights": (0.4, -0.2),
    }[kind]
    return (slope * u + start).astype("<f4")


def sample_indices(n: int) -> Array:
    """Return the flat positions of the samples of n values: all, or 64 that are spread out."""
    if n <= 64:
        return np.arange(n)
    k = np.arange(64)
    return (k * n) // 64 + (k * 7919) % (n // 64)


def relative_error(actual: Array, expected: Array, scale: float | None = None) -> float:
    """Return the largest difference over the largest expected magnitude; infinite for NaN."""
    if actual.shape != expected.shape:
        return math.inf
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    difference = float(np.abs(actual - expected).max(initial=0))
    if scale is None:
        scale = float(np.abs(expected).max(initial=0))
    if difference == 0:
        return 0.0
    error = difference / scale if scale else math.inf
    return math.inf if math.isnan(error) else error


def write_weights(path: Path, style: str, pieces: Iterable[Array]) -> str:
    """Write a weights file of that header and these floats; return its sha256."""
    layout, *version = STYLES[style]
    header = struct.pack(layout, *version, 0)
    digest = hashlib.sha256(header)
    with path.open("wb") as file:
        file.write(header)
        for piece in pieces:
            raw = np.asarray(piece, "<f4").tobytes()
            file.write(raw)
            digest.update(raw)
    return digest.hexdigest()


class Segment(NamedTuple):
    """A run of floats in the weights file, as Darknet's loader read it."""

    layer: int
    kind: str
    floats: int
    fan_in: int


class Answer(NamedTuple):
    """What Darknet prints of one layer; `shape` is None where it keeps none (a plain vector)."""

    layer: int
    section: str
    shape: Shape | None
    size: int
    largest: float
    samples: Array


@dataclass(frozen=True)
class Key:
    """One network with Darknet's answers; read it with `mini` or `official`."""

    name: str
    cfg: Path
    path: Path
    content: dict[str, Any] = field(repr=False)

    @property
    def fork(self) -> str:
        """Name of the dialect."""
        return str(self.content["fork"])

    @property
    def mode(self) -> Mode:
        """How to read the cfg."""
        return "darknet" if self.name in NEED_DARKNET_MODE else "normal"

    @cached_property
    def segments(self) -> list[Segment]:
        """The weights file, run by run."""
        return [
            Segment(s["layer"], s["kind"], s["count"], s["fan_in"])
            for s in self.content["segments"]
        ]

    @cached_property
    def answers(self) -> list[Answer]:
        """Darknet's word on every layer, in order."""
        return [
            Answer(
                each["index"],
                each["type"],
                darknet_shape(each["out_w"], each["out_h"], each["out_c"]),
                each["n"],
                each["absmax"],
                np.array(each["sample_values"]),
            )
            for each in self.content["layers"]
        ]

    @cached_property
    def arrays(self) -> dict[int, Array]:
        """All values of the layers whose values are kept, by index; the corrected ones if any."""
        with np.load(self.path.with_suffix(".npz")) as file:
            files = {name: file[name] for name in sorted(file.files, reverse=True)}
        return {int(name.rpartition("_")[2]): array for name, array in files.items()}

    def pieces(self) -> Iterator[tuple[int, Array]]:
        """Yield the floats of the weights file in short pieces, each with its segment's number."""
        first = 0
        for number, each in enumerate(self.segments):
            gain = float(self.content["segments"][number].get("gain", self.content["gain"]))
            for start in range(0, each.floats, _CHUNK):
                count = min(_CHUNK, each.floats - start)
                u = uniform(self.content["weight_seed"], first + start, count)
                yield number, floats_of(each.kind, u, each.fan_in, gain)
            first += each.floats

    def floats(self) -> list[Array]:
        """Return the floats of each segment (of small keys)."""
        parts: list[list[Array]] = [[] for _ in self.segments]
        for number, piece in self.pieces():
            parts[number].append(piece)
        return [np.concatenate(part) for part in parts]

    def write_weights(self, path: Path) -> str:
        """Write the weights file; return its sha256."""
        return write_weights(
            path, self.content["weights_style"], (piece for _, piece in self.pieces())
        )

    def input(self) -> torch.Tensor:
        """Return the input (1, c, h, w)."""
        shape = self.content["input_shape"]
        values = uniform(self.content["input_seed"], 0, math.prod(shape)).astype(np.float32)
        return torch.from_numpy(values.reshape(1, *shape))

    def plan(self, *, own_size: bool = False) -> Plan:
        """Return the package's plan, at the key's size or at the cfg's own."""
        size = {} if own_size else self.content["override"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DarknetWarning)
            return dt.plan(self.cfg, dialect=self.fork, mode=self.mode, **size)

    def load(self, weights: Path) -> Network:
        """Return the package's network with the values of a weights file."""
        size = self.content["override"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DarknetWarning)
            return as_network(dt.load(self.cfg, weights, dialect=self.fork, mode=self.mode, **size))

    def compute(self, network: Network) -> list[Array]:
        """Return every layer's output after as many forward passes as the key has."""
        x = self.input().to(network.device)
        with torch.inference_mode():
            for _ in range(self.content["forward_passes"]):
                outputs = network.activations(x)
        return [output[0].detach().cpu().numpy() for output in outputs]


@dataclass
class Comparison:
    """What came of a comparison.

    errors: relative error of each layer; stock_errors: of those in which the C program is wrong.
    problems: everything else that differs, a line each.
    """

    errors: dict[int, float] = field(default_factory=dict)
    stock_errors: dict[int, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def worst(self) -> float:
        """The largest error of any layer in which the C program is right."""
        return max(self.errors.values(), default=0.0)

    @property
    def failures(self) -> list[str]:
        """All reasons why the key is not matched; empty if it is."""
        far = [f"layer {i}: error {e:.3g}" for i, e in self.errors.items() if not e <= LIMIT]
        return self.problems + far


def darknet_shape(w: int, h: int, c: int) -> Shape | None:
    """Return a layer's shape as Darknet keeps it; None where it keeps none."""
    return Shape(c, h, w) if w or h or c else None


def mini(name: str, folder: Path = GOLDEN) -> Key:
    """Read a key of this project, `NAME.FORK`."""
    path = folder / f"{name}.json"
    return Key(name, folder / f"{name.rpartition('.')[0]}.cfg", path, _read(path))


def official(name: str) -> Key:
    """Read a key of an official cfg, `FORK/NAME`."""
    path = OFFICIAL / f"{name}.json"
    content = _read(path)
    return Key(name, OFFICIAL_CFG / content["cfg"], path, content)


def find(name: str) -> Key:
    """Read the key of that name."""
    return official(name) if "/" in name else mini(name)


def mini_names(folder: Path = GOLDEN) -> list[str]:
    """Return the names of this project's keys."""
    return sorted(path.name.removesuffix(".json") for path in folder.glob("*.json"))


def official_names() -> list[str]:
    """Return the names of the keys of official cfgs that are at hand."""
    files = (
        path for fork in ("alexeyab", "pjreddie") for path in (OFFICIAL / fork).rglob("*.json")
    )
    return sorted(path.relative_to(OFFICIAL).as_posix().removesuffix(".json") for path in files)


def compare(key: Key, folder: Path) -> Comparison:
    """Make the weights file in `folder`, load it, save it, run it, and compare everything."""
    weights, copy = folder / "key.weights", folder / "copy.weights"
    result = Comparison()
    try:
        if key.write_weights(weights) != key.content["weights_sha256"]:
            result.problems.append("the weights made are not those of the key")
        network = key.load(weights).to(DEVICE)
        result.problems += structure_problems(key, network.plan)
        dt.save(network, copy)
        if not filecmp.cmp(weights, copy, shallow=False):
            result.problems.append("save does not give back the bytes that load read")
        _compare_layers(key, key.compute(network), result)
    finally:
        weights.unlink(missing_ok=True)
        copy.unlink(missing_ok=True)
    return result


def structure_problems(key: Key, plan: Plan) -> list[str]:
    """Compare shapes, segments, sizes and the final layer of a plan with the key's."""
    problems = []
    for node, answer in zip(plan, key.answers, strict=True):
        wrong = STOCK_WRONG.get(key.name, set())
        if answer.layer not in wrong and not same_shape(node.shape, answer.shape, answer.size):
            problems.append(f"layer {node.index}: {node.shape}, Darknet {answer.shape}")
    mine = [Segment(n.index, s.kind, s.count, s.fan_in) for n in plan for s in n.segments]
    for actual, expected in zip_longest(mine, key.segments):
        if actual != expected:
            problems.append(f"segment {actual}, Darknet {expected}")
            break
    for what, actual, expected in (
        ("floats", plan.floats, key.content["total_floats"]),
        ("final layer", plan.final, key.content["final_layer"]),
    ):
        if actual != expected:
            problems.append(f"{what}: {actual}, Darknet {expected}")
    return problems


def same_shape(mine: Shape, darknets: Shape | None, size: int | None = None) -> bool:
    """Compare a shape with Darknet's, which may be none, and with its number of values."""
    if size is not None and mine.size != size:
        return False
    return mine.is_vector if darknets is None else mine == darknets


def _compare_layers(key: Key, outputs: Sequence[Array], result: Comparison) -> None:
    wrong = STOCK_WRONG.get(key.name, set())
    for output, answer in zip(outputs, key.answers, strict=True):
        error = _layer_error(output.ravel(), answer, key.arrays.get(answer.layer))
        (result.stock_errors if answer.layer in wrong else result.errors)[answer.layer] = error


def _layer_error(output: Array, answer: Answer, whole: Array | None) -> float:
    if output.size != answer.size:
        return math.inf
    samples = output[sample_indices(answer.size)]
    error = relative_error(samples, answer.samples, answer.largest)
    if whole is None:
        return error
    return max(error, relative_error(output, whole.ravel(), answer.largest))


@dataclass(frozen=True)
class Measured:
    """One line of the sweep over all keys; state: `ok` or `FAILED`."""

    name: str
    state: str
    error: float
    seconds: float
    failures: list[str]


def measure(name: str, threads: int = 0) -> Measured:
    """Compare one key, files in a temporary folder, what goes wrong stands in the result."""
    if threads:
        torch.set_num_threads(threads)
    os.environ["DARKNET_TORCH_CACHE"] = str(NAMES)  # the cfgs name the trees and maps in there
    start, key = time.monotonic(), find(name)
    try:
        with tempfile.TemporaryDirectory(prefix="darknet-torch-key-") as folder:
            result = compare(key, Path(folder))
        error, failures = result.worst, result.failures
    except Exception as problem:  # one broken key must not end the sweep
        error, failures = math.inf, [f"{type(problem).__name__}: {problem}"]
    state = "FAILED" if failures else "ok"
    return Measured(name, state, error, time.monotonic() - start, failures)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content
