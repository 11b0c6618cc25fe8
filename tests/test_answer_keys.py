"""Every layer's numbers against Darknet's answer keys, and against plain loops where there is none.

The loops below are written from the description of the formats, in float64, and share no code with
the package. Where a stock C program is known to be wrong they compute what is meant.
"""

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keys
import numpy as np
import pytest
import torch
from keys import LIMIT, Array, Key, relative_error

import darknet_torch as dt
from darknet_torch.errors import CfgError, ShapeError, WeightsError
from darknet_torch.layers.base import Segment
from darknet_torch.layers.convolutional import Convolutional

pytestmark = [
    pytest.mark.filterwarnings("ignore::darknet_torch.errors.DarknetWarning"),
    pytest.mark.usefixtures("word_trees"),
]

MINIS = [keys.mini(name) for name in keys.mini_names()]
MODELS = keys.SHARED / "models"

# one network of each family, below 20 million floats; the others are run by tools/check --all
QUICK = {
    "pjreddie": ("cifar darknet go resnet18 tiny writing yolov2-tiny-voc yolov3-tiny"),
    "alexeyab": (
        "cifar densenet201 efficientnet-lite3 efficientnet_b0 go.test gru rnn tiny yolov1/tiny-yolo"
        " yolov1/xyolo.test yolov2-tiny-voc yolov3-tiny_occlusion_track yolov3-tiny_xnor"
        " yolov4-csp-s-mish yolov4-tiny yolov4-tiny_contrastive yolov7-tiny"
    ),
}

needs_shared = pytest.mark.skipif(
    not keys.SHARED.is_dir(), reason=f"{keys.SHARED} is not there: official keys and real models"
)


@pytest.fixture
def word_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cfgs find the trees and maps that they name."""
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(keys.NAMES if keys.NAMES.is_dir() else "."))


def names(chosen: Iterable[Key]) -> dict[str, Any]:
    chosen = list(chosen)
    return {"argvalues": chosen, "ids": [key.name for key in chosen]}


def assert_where(error: BaseException, path: Path, header: str) -> None:
    """The message begins with file, line and the section's header."""
    assert re.match(rf"{re.escape(str(path))}:\d+: {re.escape(header)}[: ]", str(error))


# --- the keys


def test_keys_are_at_hand() -> None:
    assert len(MINIS) == 190
    assert {key.name for key in MINIS} >= keys.STOCK_WRONG.keys() | keys.NEED_DARKNET_MODE


@pytest.mark.parametrize("key", **names(MINIS))
def test_mini(key: Key, tmp_path: Path) -> None:
    result = keys.compare(key, tmp_path)
    assert not result.failures
    stock = keys.STOCK_WRONG.get(key.name, set())
    assert result.errors.keys() | stock == set(range(len(key.answers)))
    assert all(result.stock_errors[layer] > LIMIT for layer in stock)


@pytest.mark.parametrize("key", **names(key for key in MINIS if key.mode == "darknet"))
def test_only_darknet_takes_unknown_activations(key: Key) -> None:
    with pytest.raises(CfgError, match="relu") as caught:
        dt.plan(key.cfg, dialect=key.fork)
    assert_where(caught.value, key.cfg, "[convolutional]")


@pytest.mark.parametrize("fork", ["pjreddie", "alexeyab"])
@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("parse_section_comment", "[convolutional]#first"),
        ("parse_unknown_section", "[nosuchlayer]"),
        ("parse_uppercase", "[Convolutional]"),
    ],
)
def test_refused_by_darknet_too(name: str, header: str, fork: str) -> None:
    path = keys.GOLDEN / f"{name}.cfg"
    with pytest.raises(CfgError) as caught:
        dt.plan(path, dialect=fork, mode="darknet")
    assert_where(caught.value, path, header)


def test_weights_without_normalization() -> None:
    path = keys.GOLDEN / "shortcut_w_none.cfg"
    with pytest.raises(CfgError, match="weights_normalization") as caught:
        dt.plan(path, dialect="alexeyab")
    assert_where(caught.value, path, "[shortcut]")


@pytest.mark.parametrize("key", **names(MINIS))
def test_forward_returns_what_activations_show(key: Key, tmp_path: Path) -> None:
    key.write_weights(tmp_path / "w")
    first, second = (key.load(tmp_path / "w") for _ in range(2))  # recurrent ones keep a state
    with torch.inference_mode():
        outputs, shown = first(key.input()), second.activations(key.input())
    outputs = outputs if first.plan.heads else (outputs,)
    expected = [key.input() if i < 0 else shown[i] for i in first.plan.outputs]
    assert all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True))


# --- a comparison that could not fail would be worth nothing


@pytest.mark.parametrize("pair", list(itertools.combinations(range(5), 2)), ids=str)
def test_segments_in_another_order_are_noticed(
    pair: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Convolutional.weights

    def swapped(self: Convolutional, *shapes: Any) -> list[Segment]:
        segments = list(right(self, *shapes))
        a, b = pair
        if len(segments) == 5:
            segments[a], segments[b] = segments[b], segments[a]
        return segments

    key = keys.mini("conv_batchnorm.alexeyab")
    assert not keys.compare(key, tmp_path).failures
    monkeypatch.setattr(Convolutional, "weights", swapped)
    weights = tmp_path / "w"
    key.write_weights(weights)
    assert any("segment" in each for each in keys.structure_problems(key, key.plan()))
    try:
        outputs = key.compute(key.load(weights))
    except WeightsError as error:  # weights read as variances are below 0, which is noticed too
        assert "variance" in str(error)
        return
    errors = [relative_error(outputs[i], key.arrays[i]) for i in range(len(outputs))]
    assert not max(errors) <= 10 * LIMIT


def test_numbers_that_differ_are_noticed(tmp_path: Path) -> None:
    key = keys.mini("conv_groups.pjreddie")
    far = json.loads(key.path.read_text())
    far["layers"][3]["sample_values"][17] += 2 * LIMIT * far["layers"][3]["absmax"]
    result = keys.compare(Key(key.name, key.cfg, key.path, far), tmp_path)
    assert [each[:8] for each in result.failures] == ["layer 3:"]
    assert relative_error(np.array([1.0, np.nan]), np.array([1.0, 2.0])) == math.inf
    assert relative_error(np.array([1.0]), np.array([0.0])) == math.inf


def test_weights_are_counted_out_by_splitmix64() -> None:
    """Its first numbers from seed 0 are published; those of seed n begin n numbers later."""
    published = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)
    for seed, number in enumerate(published):
        assert keys.uniform(seed, 0, 1)[0] == (number >> 40) / 2**24
    assert np.array_equal(keys.uniform(3, 5, 40)[10:], keys.uniform(3, 15, 30))


# --- plain loops: what the formats mean


def correlate(
    x: Array,
    weights: Array,
    biases: Array | float = 0.0,
    *,
    stride: tuple[int, int] = (1, 1),
    pad: int = 0,
    dilation: int = 1,
    fill: float = 0.0,
) -> Array:
    """Convolution as Darknet means it: (c, h, w) and (n, c, k, k) -> (n, h', w')."""
    k, edge = weights.shape[2], pad * dilation
    x = np.pad(x, ((0, 0), (edge, edge), (edge, edge)), constant_values=fill).astype(float)
    height = (x.shape[1] - 2 * edge + 2 * pad - k) // stride[0] + 1
    width = (x.shape[2] - 2 * edge + 2 * pad - k) // stride[1] + 1
    out = np.zeros((len(weights), height, width))
    for i, j, dy, dx in itertools.product(range(height), range(width), range(k), range(k)):
        pixel = x[:, i * stride[0] + dy * dilation, j * stride[1] + dx * dilation]
        out[:, i, j] += weights[:, :, dy, dx].astype(float) @ pixel
    return out + np.reshape(biases, (-1, 1, 1))


def maximum(
    x: Array, size: int, stride: tuple[int, int] = (1, 1), padding: int | None = None
) -> Array:
    """[maxpool] of (c, h, w): `padding` is the total of both sides."""
    padding = size - 1 if padding is None else padding
    c, h, w = x.shape
    out = np.full(
        (c, (h + padding - size) // stride[0] + 1, (w + padding - size) // stride[1] + 1), -math.inf
    )
    for i, j in np.ndindex(out.shape[1:]):
        for y, x_ in itertools.product(range(size), range(size)):
            row, column = i * stride[0] - padding // 2 + y, j * stride[1] - padding // 2 + x_
            if 0 <= row < h and 0 <= column < w:
                out[:, i, j] = np.maximum(out[:, i, j], x[:, row, column])
    return out


def normalize(x: Array, bias: Array, scale: Array, mean: Array, variance: Array) -> Array:
    """Batch norm of (c, ...) with epsilon inside the root."""
    columns = (each.reshape(-1, *[1] * (x.ndim - 1)) for each in (bias, scale, mean, variance))
    b, s, m, v = columns
    return s * (x - m) / np.sqrt(v.astype(float) + 1e-5) + b


def logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x.astype(float)))


def softmax(x: Array, temperature: float = 1.0) -> Array:
    """Over the last axis."""
    powers = np.exp((x.astype(float) - x.max(-1, keepdims=True)) / temperature)
    return powers / powers.sum(-1, keepdims=True)


def leaky(x: Array) -> Array:
    return np.where(x > 0, x, 0.1 * x)


def hard_mish(x: Array) -> Array:
    return np.where(x > 0, x, np.where(x > -2, x * x / 2 + x, 0))


def share_of(weights: Array, kind: str) -> Array:
    """Normalised weights of a [shortcut]: (rows, columns), over the rows."""
    positive = np.exp(weights - weights.max(0)) if kind == "softmax" else np.maximum(weights, 0)
    return positive / (1e-4 + positive.sum(0))


# --- what is meant where the stock C program is wrong


def parts(key: Key, layer: int) -> list[Array]:
    """The layer's segments of the weights file."""
    return [
        floats
        for floats, each in zip(key.floats(), key.segments, strict=True)
        if each.layer == layer
    ]


def convolved(key: Key, layer: int, x: Array, size: int, **options: Any) -> Array:
    """A convolution without batch norm, with the key's weights."""
    biases, weights = parts(key, layer)
    return correlate(x, weights.reshape(len(biases), len(x), size, size), biases, **options)


def meant_by_relu6(key: Key) -> dict[int, Array]:
    return {0: convolved(key, 0, key.input()[0].numpy(), 3, pad=1).clip(0, 6)}


def meant_by_activations(key: Key) -> dict[int, Array]:
    x = key.arrays[0].astype(float)
    positive = np.maximum(x, 0)
    return {
        2: x * np.tanh(np.log1p(np.exp(x))),
        4: x * logistic(x),
        6: hard_mish(x),
        8: x.clip(0, 6),
        12: positive / (positive.sum(0) + 1e-4),
    }


def meant_by_strides(key: Key) -> dict[int, Array]:
    x, strides = key.arrays[0], {1: (2, 2), 3: (2, 2), 5: (3, 3)}
    return {layer: convolved(key, layer, x, 1, stride=s) for layer, s in strides.items()}


def meant_by_hard_mish(key: Key) -> dict[int, Array]:
    return {2: hard_mish(key.arrays[0].astype(float) + key.arrays[1])}


def meant_by_relu_weights(key: Key) -> dict[int, Array]:
    weights = share_of(parts(key, 5)[0].reshape(2, 4), "relu")[:, :, None, None]
    mixed = weights[0] * key.arrays[4] + weights[1] * key.arrays[3]
    return {5: mixed, 6: convolved(key, 6, mixed, 1)}


def recurrent(key: Key, layer: int, inputs: list[Array], *, swap: bool) -> list[Array]:
    """Pjreddie's [crnn] of mini/crnn_pass*, one output a pass; `swap`: with the stock's mistake."""
    normalized, act, keeps = ((True, leaky, False), (False, lambda x: x, True))[layer - 1]
    step = 5 if normalized else 2
    floats = parts(key, layer)
    blocks = [floats[i : i + step] for i in range(0, len(floats), step)]

    def product(x: Array, block: list[Array]) -> Array:
        biases, *norm, weights = block
        weights = weights.reshape(len(biases), -1, 3, 3)
        if not norm:
            return act(correlate(x, weights, biases, pad=1))
        return act(normalize(correlate(x, weights, pad=1), biases, *norm))

    outputs, state = [], np.float64(0)
    for x in inputs:
        x = x.reshape(len(x), x.shape[2], x.shape[1]) if swap else x
        state = np.zeros((len(blocks[0][0]), *x.shape[1:])) if state.ndim == 0 else state
        old = state if keeps else 0
        state = product(x, blocks[0]) + product(state, blocks[1]) + old
        outputs.append(product(state, blocks[2]))
    return outputs


def crnn(key: Key, *, swap: bool = False) -> dict[int, Array]:
    inputs = [key.arrays[0]] * key.content["forward_passes"]
    first = recurrent(key, 1, inputs, swap=swap)
    return {1: first[-1], 2: recurrent(key, 2, first, swap=swap)[-1]}


MEANT: dict[str, Callable[[Key], dict[int, Array]]] = {
    "act_relu6_stock_cpu.alexeyab": meant_by_relu6,
    "activation_layer_alexey.alexeyab": meant_by_activations,
    "conv_1x1_stride2.pjreddie": meant_by_strides,
    "crnn_pass1.pjreddie": crnn,
    "crnn_pass2.pjreddie": crnn,
    "shortcut_act_hard_mish.alexeyab": meant_by_hard_mish,
    "shortcut_w_per_channel_relu_fused.alexeyab": meant_by_relu_weights,
}


@pytest.mark.parametrize("name", sorted(keys.STOCK_WRONG))
def test_what_is_meant(name: str, tmp_path: Path) -> None:
    key = keys.mini(name)
    meant = MEANT[name](key)
    assert meant.keys() == keys.STOCK_WRONG[name]
    for layer, values in meant.items():
        assert relative_error(key.arrays[layer].ravel(), values.ravel()) > LIMIT
    key.write_weights(tmp_path / "w")
    outputs = key.compute(key.load(tmp_path / "w"))
    assert max(relative_error(outputs[layer], each) for layer, each in meant.items()) < LIMIT


@pytest.mark.parametrize("name", ["crnn_pass1.pjreddie", "crnn_pass2.pjreddie"])
def test_crnn_with_the_stock_mistake_is_the_stock_answer(name: str) -> None:
    """So the loop that computes what is meant is right in everything else."""
    key = keys.mini(name)
    for layer, values in crnn(key, swap=True).items():
        assert relative_error(key.arrays[layer], values) < LIMIT


def test_stock_tree_softmax_is_not_what_is_compared() -> None:
    key = keys.mini("region_tree.pjreddie")
    with np.load(key.path.with_suffix(".npz")) as file:
        stock, corrected = file["layer_2"], file["corrected_layer_2"]
    assert relative_error(stock, corrected) > LIMIT
    assert np.array_equal(key.arrays[2], corrected)


# --- the official cfgs


def stored_cfgs() -> list[str]:
    """The distinct official cfgs, `FORK/NAME.cfg`; none where ../shared is missing."""
    path = keys.OFFICIAL_CFG / "index.json"
    if not path.is_file():
        return []
    return sorted({each["stored"] for each in json.loads(path.read_text()).values()})


# AlexeyAB's program refuses these cfgs of its own: its shortcuts do not stride
TAKEN_BY_PJREDDIE = {f"alexeyab/resnet{depth}.cfg" for depth in (50, 101, 152)}


@needs_shared
def test_official_cfgs_are_at_hand() -> None:
    assert len(stored_cfgs()) == 124
    assert len(keys.official_names()) == 113
    assert {f"{fork}/{name}" for fork, chosen in QUICK.items() for name in chosen.split()} <= set(
        keys.official_names()
    )


@needs_shared
@pytest.mark.parametrize("name", stored_cfgs())
def test_plan_of_official_cfg(name: str) -> None:
    path, fork = keys.OFFICIAL_CFG / name, name.partition("/")[0]
    if name in TAKEN_BY_PJREDDIE:
        with pytest.raises(ShapeError, match="dialect pjreddie") as caught:
            dt.plan(path, dialect=fork)
        assert_where(caught.value, path, "[shortcut]")
        fork = "pjreddie"
    plan = dt.plan(path, dialect=fork)
    assert len(plan) == len(dt.parse_cfg(path)) - 1
    assert sum(node.floats for node in plan) == plan.floats > 10_000


@needs_shared
@pytest.mark.parametrize("name", keys.official_names())
def test_shapes_and_floats_at_the_cfgs_own_size(name: str) -> None:
    key = keys.official(name)
    plan = key.plan(own_size=True)
    assert plan.floats == key.content["original_total_floats"]
    shapes = key.content["original_shapes"]
    if shapes is None:  # the key's own shapes are those of the cfg
        assert not key.content["override"]
        assert not keys.structure_problems(key, plan)
        return
    wrong = [
        (node.index, node.shape, whc)
        for node, whc in zip(plan, shapes, strict=True)
        if not keys.same_shape(node.shape, keys.darknet_shape(*whc))
    ]
    assert not wrong


@needs_shared
@pytest.mark.parametrize(
    "name", [f"{fork}/{name}" for fork, chosen in QUICK.items() for name in chosen.split()]
)
def test_official(name: str, tmp_path: Path) -> None:
    key = keys.official(name)
    assert not keys.compare(key, tmp_path).failures


# --- real models


def real_models() -> list[Path]:
    """The weights files of whole networks; none where ../shared is missing."""
    return sorted(MODELS.glob("*/*.weights"))


def cfg_beside(weights: Path) -> Path:
    (cfg,) = weights.parent.glob("*.cfg")
    return cfg


MISMATCH = "yolo-lite-trial8-mismatch"


@needs_shared
def test_real_models_are_at_hand() -> None:
    assert len(real_models()) >= 18
    assert MISMATCH in {path.parent.name for path in real_models()}


@needs_shared
@pytest.mark.parametrize(
    "weights",
    [path for path in real_models() if path.parent.name != MISMATCH],
    ids=lambda p: p.parent.name,
)
def test_real_weights_come_back_byte_for_byte(weights: Path, tmp_path: Path) -> None:
    network = dt.load(cfg_beside(weights), weights, dialect="alexeyab")
    assert network.loaded == len(network.plan)
    dt.save(network, tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == weights.read_bytes()


@needs_shared
def test_weights_of_another_cfg_are_refused() -> None:
    (weights,) = (MODELS / MISMATCH).glob("*.weights")
    with pytest.raises(WeightsError, match=r"layer \d+ \[convolutional\] \w+: \d+ floats expected"):
        dt.load(cfg_beside(weights), weights, dialect="alexeyab")


@needs_shared
@pytest.mark.parametrize(
    ("how", "layers"), [({"cutoff": 57}, 57), ({"partial": True}, 64)], ids=str
)
def test_backbone(how: dict[str, Any], layers: int, tmp_path: Path) -> None:
    """The 57 layers of a file; the seven after them have no weights, so they are reached too."""
    cfg = cfg_beside(MODELS / "mobilenetv2-nano-coco" / "x")
    (weights,) = (MODELS / "mobilenetv2-nano-backbone").glob("*.57")
    with pytest.raises(WeightsError, match=r"layer 64 .* partial=True or cutoff=64 takes"):
        dt.load(cfg, weights, dialect="alexeyab")
    network = dt.load(cfg, weights, dialect="alexeyab", **how)
    assert network.loaded == layers
    dt.save(network, tmp_path / "w", cutoff=layers)
    assert (tmp_path / "w").read_bytes() == weights.read_bytes()


# --- layers and options without a key

RNG = np.random.default_rng(20)
X = RNG.normal(size=(4, 9, 7)).astype(np.float32)


@dataclass
class Bench:
    """Runs cfgs of a few lines; `x` is their input, (c, h, w)."""

    folder: Path

    def run(
        self,
        text: str,
        x: Array = X,
        floats: Sequence[Array] = (),
        fork: str = "alexeyab",
        style: str = "new",
        mode: Any = "normal",
    ) -> list[Array]:
        """Return every layer's output; the weights file holds `floats` in this order."""
        c, h, w = x.shape
        cfg, weights = self.folder / "x.cfg", self.folder / "x.weights"
        cfg.write_text(f"[net]\nchannels={c}\nheight={h}\nwidth={w}\n{text}")
        keys.write_weights(weights, style, floats)
        network = dt.load(cfg, weights, dialect=fork, mode=mode)
        with torch.inference_mode():
            outputs = network.activations(torch.from_numpy(x.astype(np.float32))[None])
        return [output[0].detach().numpy() for output in outputs]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def positive(*shape: int) -> Array:
    return RNG.uniform(0.3, 2, size=shape).astype(np.float32)


def agree(actual: Array, expected: Array) -> None:
    assert relative_error(actual, expected) < 1e-5


def gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(0.797885 * x + 0.035677 * x**3))


def lhtan(x: Array) -> Array:
    return np.where(x < 0, 0.001 * x, np.where(x > 1, 0.001 * (x - 1) + 1, x))


def plse(x: Array) -> Array:
    outer = np.where(x < -4, 0.01 * (x + 4), 0.01 * (x - 4) + 1)
    return np.where(abs(x) > 4, outer, 0.125 * x + 0.5)


def maxval(x: Array) -> Array:
    powers = np.exp(x - x.max(0))
    return powers / (powers.sum(0) + 1e-4)


@pytest.mark.parametrize(
    ("name", "function", "forks"),
    [
        ("gelu", gelu, "alexeyab"),
        ("lhtan", lhtan, "alexeyab pjreddie"),
        ("plse", plse, "alexeyab pjreddie"),
        ("normalize_channels_softmax_maxval", maxval, "alexeyab"),
    ],
)
@pytest.mark.parametrize("section", ["convolutional", "activation"])
def test_activation(
    bench: Bench, section: str, name: str, function: Callable[[Array], Array], forks: str
) -> None:
    unit = [np.zeros(4), np.eye(4)] if section == "convolutional" else []
    for fork in forks.split():
        text = f"[{section}]\nfilters=4\nactivation={name}"
        actual = bench.run(text, 4 * X, unit, fork)[0]
        agree(actual, function(4 * X.astype(float)))


@pytest.mark.parametrize(
    ("size", "dilation", "stride"), [(3, 2, 1), (5, 3, 1), (3, 2, 2), (1, 4, 1)]
)
def test_dilation(bench: Bench, size: int, dilation: int, stride: int) -> None:
    biases, weights = floats(3), floats(3, 4, size, size)
    actual = bench.run(
        f"[convolutional]\nfilters=3\nsize={size}\npad=1\ndilation={dilation}\nstride={stride}\n"
        "activation=linear",
        floats=[biases, weights],
    )[0]
    used = dilation if size > 1 else 1
    expected = correlate(X, weights, biases, stride=(stride, stride), pad=size // 2, dilation=used)
    agree(actual, expected)


def test_dilation_is_unknown_to_pjreddie(bench: Bench) -> None:
    biases, weights = floats(3), floats(3, 4, 3, 3)
    text = "[conv]\nfilters=3\nsize=3\npad=1\ndilation=2\nstride_x=2\nactivation=linear"
    agree(
        bench.run(text, X, [biases, weights], "pjreddie")[0], correlate(X, weights, biases, pad=1)
    )


@pytest.mark.parametrize(
    ("keys_", "stride"),
    [
        ("stride_x=1\nstride_y=2", (2, 1)),
        ("stride=3\nstride_x=2", (3, 2)),
        ("stride=2\nstride_y=0\nstride_x=1", (2, 1)),
    ],
)
def test_two_strides(bench: Bench, keys_: str, stride: tuple[int, int]) -> None:
    biases, weights = floats(3), floats(3, 4, 3, 3)
    text = f"[convolutional]\nfilters=3\nsize=3\npad=1\nactivation=linear\n{keys_}"
    expected = correlate(X, weights, biases, stride=stride, pad=1)
    agree(bench.run(text, floats=[biases, weights])[0], expected)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("sway=1\nrotate=1\nsize=3", "sway and rotate: only one of them can be"),
        ("stretch=1\nstretch_sway=1\nsize=3", "stretch and stretch_sway: only one"),
        ("stretch=1", "stretch=1 needs a size of more than 1"),
    ],
)
def test_ways_of_moving_kernels_that_darknet_refuses(options: str, complaint: str) -> None:
    text = f"[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\n{options}\n"
    with pytest.raises(CfgError, match=rf"<cfg>:5: \[convolutional\]: {complaint}"):
        dt.plan(text)
    dt.plan(text, dialect="pjreddie")  # knows none of them


def signed(weights: Array) -> Array:
    """Each filter's signs times its mean magnitude."""
    means = abs(weights.astype(float)).mean((1, 2, 3), keepdims=True)
    return np.where(weights > 0, means, -means)


@pytest.mark.parametrize(("fork", "fill"), [("pjreddie", 0.0), ("alexeyab", -1.0)])
def test_xnor(bench: Bench, fork: str, fill: float) -> None:
    """AlexeyAB takes no groups here and pads with -1; both normalise after the convolution."""
    x, norm = floats(6, 5, 6), [floats(4), positive(4), floats(4), positive(4)]
    weights = floats(4, 6 if fork == "alexeyab" else 3, 3, 3)
    text = (
        "[convolutional]\nxnor=1\nfilters=4\nsize=3\npad=1\ngroups=2\nbatch_normalize=1\n"
        "activation=leaky"
    )
    signs = np.where(x > 0, 1.0, -1.0)
    if fork == "alexeyab":
        product = correlate(signs, signed(weights), pad=1, fill=fill)
    else:
        halves = zip((signs[:3], signs[3:]), np.split(signed(weights), 2), strict=True)
        product = np.concatenate([correlate(*half, pad=1, fill=fill) for half in halves])
    agree(bench.run(text, x, [*norm, weights], fork)[0], leaky(normalize(product, *norm)))


@pytest.mark.parametrize("reader", ["[route]\nlayers=-1", "[sam]\nfrom=-1", "[maxpool]"])
def test_bin_output_keeps_its_activation_for_some_readers(bench: Bench, reader: str) -> None:
    biases, weights = floats(4), floats(4, 4, 3, 3)
    text = (
        "[convolutional]\nxnor=1\nbin_output=1\nfilters=4\nsize=3\npad=1\nactivation=leaky\n"
        f"{reader}"
    )
    expected = correlate(np.where(X > 0, 1.0, -1.0), signed(weights), biases, pad=1, fill=-1)
    actual = bench.run(text, floats=[biases, weights])[0]
    agree(actual, expected if reader == "[maxpool]" else leaky(expected))


@pytest.mark.parametrize("fork", ["pjreddie", "alexeyab"])
@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [(2, 2, None), (2, 1, None), (4, 2, None), (6, 4, None), (2, 2, 0), (4, 3, 1), (3, 1, 5)],
)
def test_even_windows(bench: Bench, size: int, stride: int, padding: int | None, fork: str) -> None:
    text = f"[maxpool]\nsize={size}\nstride={stride}"
    text += "" if padding is None else f"\npadding={padding}"
    expected = maximum(X, size, (stride, stride), padding)
    lowest = np.finfo(np.float32).min
    agree(bench.run(text, fork=fork)[0], np.maximum(expected, lowest))


@pytest.mark.parametrize("kind", [1, 2])
def test_blurred_maxpool(bench: Bench, kind: int) -> None:
    row = np.array([1, 2, 1]) / 4 if kind == 1 else np.array([1, 1]) / 2
    kernel = np.outer(row, row)[None, None]
    pooled = maximum(X, 3)
    expected = [correlate(each[None], kernel, stride=(3, 2), pad=2 - kind)[0] for each in pooled]
    actual = bench.run(f"[maxpool]\nsize=3\nstride_x=2\nstride_y=3\nantialiasing={kind}")[0]
    agree(actual, np.stack(expected))


@pytest.mark.parametrize(
    ("fork", "style"), [("pjreddie", "transposed32"), ("alexeyab", "transposed64")]
)
def test_transposed_matrices(bench: Bench, fork: str, style: str) -> None:
    weights, norm = floats(5, X.size), [floats(5), positive(5), floats(5), positive(5)]
    text = "[connected]\noutput=5\nbatch_normalize=1\nactivation=linear"
    actual = bench.run(text, X, [norm[0], weights.T, *norm[1:]], fork, style)[0]
    agree(actual.ravel(), normalize(weights.astype(float) @ X.ravel(), *norm))


@pytest.mark.parametrize("fork", ["pjreddie", "alexeyab"])
def test_local_is_logistic_unless_told(bench: Bench, fork: str) -> None:
    biases, weights = floats(2, 5, 4), floats(20, 2, 4, 3, 3)
    actual = bench.run("[local]\nfilters=2\nsize=3\nstride=2\npad=1", X, [biases, weights], fork)[0]
    x, expected = np.pad(X, ((0, 0), (1, 1), (1, 1))), np.zeros((2, 5, 4))
    for f, i, j in np.ndindex(expected.shape):
        patch = x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        expected[f, i, j] = (weights[i * 4 + j, f] * patch).sum() + biases[f, i, j]
    agree(actual, logistic(expected))


def test_numload_reads_the_first_filters(bench: Bench) -> None:
    biases, weights, more = floats(2), floats(2, 4, 1, 1), [floats(3), floats(3, 5, 1, 1)]
    text = "[conv]\nfilters=5\nnumload=2\nactivation=linear\n[conv]\nfilters=3\nactivation=linear"
    actual = bench.run(text, X, [biases, weights, *more], "pjreddie")
    agree(actual[0][:2], correlate(X, weights, biases))
    agree(actual[1], correlate(actual[0], more[1], more[0]))


@pytest.mark.parametrize("fork", ["pjreddie", "alexeyab"])
def test_dontload_takes_nothing_from_the_file(bench: Bench, fork: str) -> None:
    text = (
        "[conv]\nfilters=5\ndontload=1\nbatch_normalize=1\n[connected]\ndontload=1\noutput=3\n"
        "[connected]\noutput=2\nactivation=linear"
    )
    biases, weights = floats(2), floats(2, 3)
    actual = bench.run(text, X, [biases, weights], fork)
    agree(actual[2].ravel(), weights.astype(float) @ actual[1].ravel() + biases)


@pytest.mark.parametrize("fork", ["pjreddie", "alexeyab"])
def test_comments_behind_values(bench: Bench, fork: str) -> None:
    """Numbers end where their digits end; words keep everything, and unknown ones are relu."""
    text = "[conv]\nfilters=3 # three\nsize=1x\nactivation=leaky # slow"
    biases, weights = floats(3), floats(3, 4, 1, 1)
    with pytest.raises(CfgError, match="did you mean leaky"):
        bench.run(text, X, [biases, weights], fork)
    actual = bench.run(text, X, [biases, weights], fork, mode="darknet")[0]
    agree(actual, np.maximum(correlate(X, weights, biases), 0))


@pytest.mark.parametrize("mode", ["normal", "darknet"])
def test_bottleneck_is_for_gpus_only(mode: Any) -> None:
    text = "[net]\nwidth=7\nheight=6\nchannels=3\n[conv_lstm]\noutput=4\npad=1\nbottleneck=1\n"
    with pytest.raises(CfgError, match=r"<cfg>:5: \[conv_lstm\]: bottleneck=1"):
        dt.plan(text, dialect="alexeyab", mode=mode)


def test_carriage_returns_in_both_forks() -> None:
    """Stock pjreddie refuses the file."""
    path = keys.GOLDEN / "parse_crlf.cfg"
    assert b"\r\n" in path.read_bytes()
    plans = [dt.plan(path, dialect=fork) for fork in ("pjreddie", "alexeyab")]
    assert [node.shape for node in plans[0]] == [node.shape for node in plans[1]]
    assert plans[0].floats == plans[1].floats > 0


def test_iseg_at_inference(bench: Bench) -> None:
    """Stock pjreddie crashes there, as it reads the ground truth."""
    x = floats(5, 3, 2)
    expected = np.concatenate([logistic(x[:3]), x[3:]])
    agree(bench.run("[iseg]\nclasses=3\nids=2", x, fork="pjreddie")[0], expected)


@pytest.mark.parametrize("fork", ["pjreddie", "alexeyab"])
@pytest.mark.parametrize("reverse", [0, 1])
def test_reorg_by_three(bench: Bench, reverse: int, fork: str) -> None:
    s, x = 3, floats(18, 6, 9)
    c, h, w = x.shape
    flat, expected, oc = x.ravel(), np.zeros(x.size), c // s**2
    for k, j, i in np.ndindex(c, h, w):
        a = i + w * (j + h * k)
        b = i * s + k // oc % s + w * s * (j * s + k // oc // s + h * s * (k % oc))
        expected[b if reverse else a] = flat[a if reverse else b]
    shape = (c // s**2, h * s, w * s) if reverse else (c * s**2, h // s, w // s)
    actual = bench.run(f"[reorg]\nstride=3\nreverse={reverse}", x, fork=fork)[0]
    agree(actual, expected.reshape(shape))


@pytest.mark.parametrize(
    ("channels", "stride"), [(3, 1), (16, 2), (32, 2), (20, 2), (17, 2), (81, 3)]
)
def test_reorg3d_backwards(bench: Bench, channels: int, stride: int) -> None:
    """Its loop runs over the output's shape, so that even a permutation is another one."""
    x, s = floats(channels, 3, 2), stride
    c, h, w = channels // s**2, 3 * s, 2 * s
    flat, expected, oc = x.ravel(), np.zeros(c * h * w), c // s**2
    for k, j, i in np.ndindex(c, h, w):
        a = i + w * (j + h * k)
        b = i * s + k // oc % s + w * s * (j * s + k // oc // s + h * s * (k % oc))
        expected[b] = flat[a]
    actual = bench.run(f"[reorg3d]\nstride={s}\nreverse=1", x)[0]
    assert np.array_equal(actual, expected.reshape(c, h, w))


@pytest.mark.parametrize("channels", [8, 15])
def test_reorg3d_backwards_would_divide_by_zero(bench: Bench, channels: int) -> None:
    with pytest.raises(ShapeError, match="reverse=1: needs at least 16"):
        bench.run("[reorg3d]\nstride=2\nreverse=1", floats(channels, 1, 1))


@pytest.mark.parametrize("fork", ["pjreddie", "alexeyab"])
def test_route_of_different_sizes_is_a_vector(bench: Bench, fork: str) -> None:
    text = (
        "[maxpool]\nstride=2\n[avgpool]\n[route]\nlayers=0,-1\n"
        "[connected]\noutput=2\nactivation=linear"
    )
    pooled = maximum(X, 2, (2, 2))
    joined = np.concatenate([pooled.ravel(), pooled.mean((1, 2))])
    biases, weights = floats(2), floats(2, len(joined))
    actual = bench.run(text, X, [biases, weights], fork)
    agree(actual[2], joined)
    agree(actual[3].ravel(), weights.astype(float) @ joined + biases)


def test_scale_channels_by_pixel(bench: Bench) -> None:
    biases, weights = floats(1), floats(1, 4, 1, 1)
    text = (
        "[silence]\n[conv]\nactivation=linear\n"
        "[scale_channels]\nfrom=0\nscale_wh=1\nactivation=leaky"
    )
    actual = bench.run(text, floats=[biases, weights])[2]
    agree(actual, leaky(correlate(X, weights, biases) * X))


CONVS = "".join(f"[conv]\nfilters={n}\nactivation=linear\n" for n in (3, 6, 4))


def added(weights: Array | float = 1.0) -> Array:
    """Sum of the convolutions of CONVS, weights (3, 1 or 4): the last, the first, the second."""
    out, rows = np.zeros((4, 9, 7)), np.broadcast_to(np.reshape(weights, (-1, 1)), (3, 4))
    maps = (correlate(correlate(correlate(X, W[0]), W[1]), W[2]), correlate(X, W[0]))
    maps = (*maps, correlate(maps[1], W[1]))
    for row, each in zip(rows, maps, strict=True):
        channels = min(4, len(each))
        out[:channels] += row[:channels, None, None] * each[:channels]
    return out


W = [floats(3, 4, 1, 1), floats(6, 3, 1, 1), floats(4, 6, 1, 1)]
WITHOUT_BIASES = [part for weights in W for part in (np.zeros(len(weights)), weights)]


def test_shortcut_of_many_with_other_channels(bench: Bench) -> None:
    actual = bench.run(f"{CONVS}[shortcut]\nfrom=-3,-2\nactivation=leaky", floats=WITHOUT_BIASES)
    agree(actual[3], leaky(added()))


@pytest.mark.parametrize("kind", ["relu", "avg_relu", "softmax"])
@pytest.mark.parametrize("type_", ["per_feature", "per_layer"])
def test_weighted_shortcut(bench: Bench, type_: str, kind: str) -> None:
    weights = np.array([[0.7], [-0.2], [0.4]], np.float32)
    text = f"{CONVS}[shortcut]\nfrom=-3,-2\nweights_type={type_}\nweights_normalization={kind}"
    actual = bench.run(text, floats=[*WITHOUT_BIASES, weights])
    agree(actual[3], added(share_of(weights.astype(float), kind)))


@pytest.mark.parametrize("fork", ["pjreddie", "alexeyab"])
def test_softmax_of_a_tree(bench: Bench, fork: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(keys.GOLDEN))
    x, groups = floats(14, 1, 1), (3, 3, 2, 3, 2, 1)
    parts_ = np.split(x.ravel(), np.cumsum(groups)[:-1])
    expected = np.concatenate([softmax(part, 2.5) for part in parts_])
    actual = bench.run("[softmax]\ntree=data/mini.tree\ntemperature=2.5", x, fork=fork)[0]
    agree(actual, expected)


@pytest.mark.parametrize("fork", ["pjreddie", "alexeyab"])
def test_upsample_backwards_sums(bench: Bench, fork: str) -> None:
    x = floats(2, 6, 9)
    expected = 0.5 * x.reshape(2, 2, 3, 3, 3).astype(float).sum((2, 4))
    agree(bench.run("[upsample]\nstride=-3\nscale=.5", x, fork=fork)[0], expected)


@pytest.mark.parametrize("fork", ["pjreddie", "alexeyab"])
def test_detection_softmax(bench: Bench, fork: str) -> None:
    x = floats(9 * (4 + 2 * 5), 1, 1)
    expected = x.ravel().astype(float)
    expected[:36] = softmax(expected[:36].reshape(9, 4)).ravel()
    text = "[detection]\nside=3\nclasses=4\nnum=2\ncoords=4\nsoftmax=1"
    agree(bench.run(text, x, fork=fork)[0], expected)


@pytest.mark.parametrize("fork", ["pjreddie", "alexeyab"])
def test_scale_x_y(bench: Bench, fork: str) -> None:
    """Pjreddie does not know it."""
    x = floats(14, 3, 2)
    expected = x.reshape(2, 7, 3, 2).astype(float)
    expected[:, [0, 1, 4, 5, 6]] = logistic(expected[:, [0, 1, 4, 5, 6]])
    if fork == "alexeyab":
        expected[:, :2] = expected[:, :2] * 1.2 - 0.1
    text = "[yolo]\nclasses=2\nnum=4\nmask=1,3\nanchors=1,2,3,4,5,6,7,8\nscale_x_y=1.2"
    agree(bench.run(text, x, fork=fork)[0], expected.reshape(x.shape))


@pytest.mark.parametrize("point", ["left_top", "right_bottom"])
def test_gaussian_points_change_no_map(bench: Bench, point: str) -> None:
    x = floats(22, 3, 2)
    expected = x.reshape(2, 11, 3, 2).astype(float)
    squashed = [i for i in range(11) if i not in (4, 6)]
    expected[:, squashed] = logistic(expected[:, squashed])
    expected[:, [0, 2]] = expected[:, [0, 2]] * 1.1 - 0.05
    text = (
        "[Gaussian_yolo]\nclasses=2\nnum=2\nmask=0,1\nanchors=1,2,3,4\nscale_x_y=1.1\n"
        f"yolo_point={point}"
    )
    agree(bench.run(text, x)[0], expected.reshape(x.shape))


def region(x: Array, fork: str, coords: int, background: bool, bounded: bool) -> Array:
    """[region] of 2 anchors and 3 classes; bounded: softmax=1."""
    out = x.reshape(2, coords + 4, *x.shape[1:]).astype(float)
    out = np.moveaxis(out, 1, -1)  # (anchor, y, x, entry)
    if fork == "pjreddie":
        out[..., :2] = logistic(out[..., :2])
        if not background:
            out[..., coords] = logistic(out[..., coords])
        first = coords if background and bounded else coords + 1
        classes = out[..., first : coords + 4]
        out[..., first : coords + 4] = softmax(classes) if bounded else logistic(classes)
        return np.moveaxis(out, -1, 1).reshape(x.shape)
    out[..., 4] = logistic(out[..., 4])
    if bounded:
        out[..., 5:8] = softmax(out[..., 5:8])
    return np.moveaxis(out, 0, 2).reshape(x.shape)


@pytest.mark.parametrize("fork", ["pjreddie", "alexeyab"])
@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize(("coords", "background"), [(4, False), (4, True), (6, False), (6, True)])
def test_region(bench: Bench, coords: int, background: bool, bounded: bool, fork: str) -> None:
    """AlexeyAB has the objectness at entry 4, the classes from entry 5, and no background."""
    x = floats(2 * (coords + 4), 3, 2)
    text = (
        f"[region]\nclasses=3\nnum=2\ncoords={coords}\nbackground={background:d}\n"
        f"softmax={bounded:d}\nanchors=1,2,3,4"
    )
    agree(bench.run(text, x, fork=fork)[0], region(x, fork, coords, background, bounded))
