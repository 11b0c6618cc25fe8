"""Networks of each family in batches, other sizes, half precision, compiled and exported.

`tools/check --variants` does the same with every official cfg and real model.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import card
import pytest
import torch
from subjects import Subject, files, fixes_size, key_of, make, names, randomized, stride
from sweep import Results, Sweep, failed, lines, table
from torch import Tensor, nn
from variants import VARIANTS, run

import darknet_torch as dt
from darknet_torch.network import Network

ROOT = Path(__file__).resolve().parents[1]

HALF = {"bfloat16", "float16"}
STATE = {"compile", "export"} | HALF
VECTOR = {"size", "channels_last"}

# name in cfg/ or of an answer key -> what does not apply to it
FAMILIES: dict[str, set[str]] = {
    "yolov1-tiny": set(),
    "yolov2-tiny-voc": set(),
    "yolov3-tiny": set(),
    "yolov4-tiny": set(),
    "yolov7-tiny": set(),
    "conv_xnor_c32.alexeyab": HALF,
    "conv_lstm_pass2.alexeyab": STATE,
    "crnn_pass2.pjreddie": STATE,
    "crop.alexeyab": set(),
    "gaussian_yolo.alexeyab": set(),
    "gru_pass2.pjreddie": STATE | VECTOR,
    "lstm_pass2.alexeyab": STATE | VECTOR,
    "region_tree.pjreddie": set(),
    "scale_channels.alexeyab": set(),
    "shortcut_spatial.pjreddie": set(),
}
PJREDDIE = {"yolov1-tiny", "yolov2-tiny-voc", "yolov3-tiny"}

# a network built at this size has at least two cells to a side
SMALL = ((64, 96), (96, 128))


def subject(name: str, folder: Path) -> Subject:
    if "." in name:
        return make(name, folder / "net.weights")
    dialect = "pjreddie" if name in PJREDDIE else "alexeyab"
    cfg = next(path for path in (ROOT / "cfg").glob("*.cfg") if path.stem == name)
    return randomized(name, cfg, folder / "net.weights", dialect, SMALL)


@pytest.mark.parametrize("name", FAMILIES)
def test_family(name: str, tmp_path: Path) -> None:
    one = subject(name, tmp_path)
    results = [run(one, variant) for variant in VARIANTS]
    assert not [each for each in results if each.state == "FAILED"]
    exempt = {each.variant for each in results if each.state == "exempt"}
    # whether random weights magnify the rounding of half precision depends on the machine
    assert FAMILIES[name] <= exempt <= FAMILIES[name] | HALF


@pytest.mark.skipif("alexeyab/efficientnet_b0" not in names(), reason="../shared is missing")
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("alexeyab/efficientnet_b0", (64, 64)),
        ("pjreddie/cifar", (28, 28)),
        ("pjreddie/tiny", (32, 48)),
    ],
)
def test_official(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    assert key_of(name)
    cfg, dialect = files(name)[0], name.partition("/")[0]
    one = randomized(name, cfg, tmp_path / "net.weights", dialect, [size])
    assert [run(one, variant).state for variant in VARIANTS] == ["ok"] * len(VARIANTS)


# --- the checks can fail


class Broken(nn.Module):
    """A layer with a function behind it that does what no layer may do."""

    def __init__(self, layer: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.function = layer, function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self.layer(*inputs))


def mixes_pictures(x: Tensor) -> Tensor:
    return x - x.mean(0)


def keeps_a_size(x: Tensor) -> Tensor:
    return x[:, :, :3, :4]


def reads_memory(x: Tensor) -> Tensor:
    return torch.as_strided(x, x.shape, torch.empty(x.shape).stride())


def loses_bits(x: Tensor) -> Tensor:
    return (x + 300) - 300


def overflows(x: Tensor) -> Tensor:
    return (x * 1e4) * 1e4 / 1e8


def breaks_the_graph(x: Tensor) -> Tensor:
    torch._dynamo.graph_break()
    return x


def unrolls_the_rows(x: Tensor) -> Tensor:
    return torch.cat([x[:, :, row : row + 1] for row in range(x.shape[2])], dim=2)


@pytest.mark.parametrize(
    ("variant", "function"),
    [
        ("batch", mixes_pictures),
        ("size", keeps_a_size),
        ("channels_last", reads_memory),
        ("bfloat16", loses_bits),
        ("float16", overflows),
        ("compile", breaks_the_graph),
        ("export", unrolls_the_rows),
    ],
)
def test_broken_layers_fail(
    variant: str, function: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    one = make("yolo.alexeyab", tmp_path / "net.weights")
    assert run(one, variant).state == "ok"
    layers = one.network.layers
    layers[0] = Broken(layers[0], function)
    assert run(one, variant).state == "FAILED"


def test_computing_before_the_refusal_fails(tmp_path: Path) -> None:
    one = make("connected.alexeyab", tmp_path / "net.weights")
    assert run(one, "size").state == "ok"
    forward = one.network.forward

    def late(x: Tensor) -> Any:
        one.network.layers[0](x)
        return forward(x)

    one.network.forward = late  # type: ignore[method-assign]
    assert "after 1 layers" in " ".join(run(one, "size").failures)


def test_taking_a_fixed_size_fails(tmp_path: Path) -> None:
    one = make("connected.alexeyab", tmp_path / "net.weights")
    one.network.forward = lambda x: x.flatten(1)[:, :2]  # type: ignore[method-assign]
    assert run(one, "size").state == "FAILED"


def test_too_large_for_half_precision_is_exempt(tmp_path: Path) -> None:
    one = make("yolo.alexeyab", tmp_path / "net.weights")
    one.network.layers[0] = Broken(one.network.layers[0], lambda x: x * 1e6)
    result = run(one, "float16")
    assert result.state == "exempt"
    assert "layers.0 overflows" in result.notes[0]


# --- what the checks stand on


@pytest.mark.parametrize(
    ("cfg", "steps", "fixed"),
    [
        ("yolov4-tiny", (32, 32), False),
        ("yolov2", (32, 32), False),
        ("yolov1-tiny", (64, 64), True),
        ("[net]\nwidth=9\nheight=8\nchannels=3\n[crop]\ncrop_width=5\ncrop_height=4\n[connected]\n"
         "output=2\n", (1, 1), False),
        ("[net]\nwidth=9\nheight=8\nchannels=3\n[avgpool]\n[connected]\noutput=2\n", (1, 1), False),
        ("[net]\nwidth=9\nheight=8\nchannels=3\n[maxpool]\nstride_x=3\nstride_y=2\n[conn]\n",
         (2, 3), True),
        ("[net]\nwidth=8\nheight=8\nchannels=4\n[reorg]\nstride=2\n[upsample]\nstride=4\n", (2, 2),
         False),
    ],
)  # fmt: skip
def test_geometry(cfg: str, steps: tuple[int, int], fixed: bool) -> None:
    plan = dt.plan(cfg)
    assert (stride(plan), fixes_size(plan)) == (steps, fixed)


def counted(calls: list[str], state: str = "ok") -> Callable[[str, int], Results]:
    def measure(job: str, threads: int) -> Results:
        calls.append(job)
        base = {"name": job, "error": 0.5, "seconds": 1.0, "failures": [], "notes": []}
        return [base | {"variant": v, "state": state} for v in ("one", "two")]

    return measure


@pytest.mark.parametrize("name", ["yolo.alexeyab", "lstm_pass1.alexeyab", "conv_xnor_c32.alexeyab"])
def test_on_a_device(name: str) -> None:
    """The sweep of `tools/check --device`, on the processor."""
    plain, optimized = card.measure(name)
    assert (plain.variant, plain.state) == ("plain", "ok") and plain.error < 1e-6
    assert optimized.state in ("ok", "exempt"), optimized.failures


def test_a_device_that_computes_otherwise_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded(subject: Subject) -> Network:
        network = copy.deepcopy(subject.network)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter *= 1.001
        return network

    monkeypatch.setattr(card, "_moved", rounded)
    assert [each.state for each in card.measure("yolo.alexeyab")] == ["FAILED", "FAILED"]


def test_sweep_goes_on(tmp_path: Path) -> None:
    source, calls = tmp_path / "a.txt", []
    source.write_text("1")
    sweep = Sweep(tmp_path / "x" / "r.json", ["a", "ab"], counted(calls), lambda _: [source], ())
    first = list(sweep.only(["b"]).run())
    assert (calls, [known for _, known in first]) == (["ab"], [False])
    assert [known for _, known in sweep.run()] == [True, False]
    assert calls == ["ab", "a"]
    assert [known for _, known in sweep.run()] == [True, True]
    assert [known for _, known in sweep.run(fresh=True)] == [False, False]
    source.write_text("2")
    assert [known for _, known in sweep.run()] == [False, False]
    broken = replace(sweep, measure=counted(calls, "FAILED"))
    source.write_text("3")
    assert [known for _, known in (*broken.run(), *broken.run())] == [False] * 4
    sweep.path.write_text("{")
    assert [known for _, known in sweep.run()] == [False, False]


def test_sweep_says() -> None:
    good, bad = counted([])("net", 1), counted([], "FAILED")("net", 1)
    bad[0] |= {"error": math.inf, "failures": ["size: wrong"]}
    assert not failed(good) and failed(bad)
    assert next(lines(good)).split() == ["net", "ok", "5.00e-01", "2.0", "s"]
    assert list(lines(bad))[1:] == ["    one FAILED: size: wrong"]
    text = "\n".join(table([*good, *bad]))
    assert text.startswith("one              1 ok,   1 failed,   0 exempt; largest error")
