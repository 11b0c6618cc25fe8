"""`train`: the course of a training, its files, its end, and what it goes on from."""

import csv
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapes
import torch
from PIL import Image

import darknet_torch as dt
from darknet_torch.data import Dataset, GroundTruth, Sample
from darknet_torch.errors import DarknetError, TrainingError, UsageError
from darknet_torch.network import Network
from darknet_torch.training.callbacks import BatchReport, Callback, ScoreReport
from darknet_torch.training.loop import train
from darknet_torch.training.result import TrainingResult
from darknet_torch.training.solver import Solver


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes.draw_detection_set(tmp_path_factory.mktemp("shapes"))


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return make(tmp_path, shapes.DETECTOR)


def make(folder: Path, text: str) -> Network:
    path = folder / "net.cfg"
    path.write_text(text)
    torch.manual_seed(0)
    return dt.build(path)


class Recorder(Callback):
    """Keeps what it is told, and may do something behind a batch."""

    def __init__(self, at: int = 0, do: Callable[[], object] = lambda: None) -> None:
        self.messages, self.batches = list[str](), list[BatchReport]()
        self.scores, self.at, self.do, self.ended = list[ScoreReport](), at, do, False

    def on_message(self, text: str) -> None:
        self.messages.append(text)

    def on_batch(self, report: BatchReport) -> None:
        self.batches.append(report)
        if report.batch == self.at:
            self.do()

    def on_score(self, report: ScoreReport) -> None:
        self.scores.append(report)

    def on_end(self) -> None:
        self.ended = True


def quick(network: Network, data: Any, folder: Path, **options: Any) -> TrainingResult:
    settings: dict[str, Any] = {"workers": 0, "save_every": 2, "max_batches": 6, "val": None}
    return train(network, data, folder=folder, **(settings | options))


def floats(network: Network) -> dict[str, torch.Tensor]:
    state = network.state_dict().items()
    return {name: value.clone() for name, value in state if value.is_floating_point()}


def same(a: Network, b: Network) -> bool:
    mine, theirs = floats(a), floats(b)
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_training_leaves_files_that_can_be_used(
    network: Network, data: Path, tmp_path: Path
) -> None:
    before, watcher, folder = floats(network), Recorder(), tmp_path / "run"
    options = {"max_batches": 30, "eval_every": 15, "learning_rate": 0.02}
    result = quick(network, data, folder, callbacks=[watcher], **options)
    assert all(torch.equal(before[name], value) for name, value in floats(network).items())
    losses = [report.loss for report in watcher.batches]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert [report.batch for report in watcher.scores] == [15, 30]
    assert watcher.ended
    assert (result.batches, result.stopped) == (30, "max_batches")
    for ending in ("_best.weights", "_last.weights", "_2.weights", "_30.weights"):
        assert (folder / f"net{ending}").is_file(), ending
    again = dt.load(folder / "net.cfg", folder / "net_last.weights")
    assert again.header.seen == 30 * 8
    assert same(again, result.network)
    assert again.names == ("red", "green", "blue")
    measured = dt.evaluate(again, data).darknet.average_precisions(0).mean()  # type: ignore[union-attr]
    assert measured == pytest.approx(result.score, abs=1e-6)
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert [row["batch"] for row in rows if row["loss"]] == [str(n + 1) for n in range(30)]
    assert {"box", "objectness", "class"} <= set(rows[0])
    assert Image.open(folder / "batch-0.jpg").size == (3 * 416, 3 * 416)
    assert Image.open(folder / "chart.png").width > 500
    assert watcher.messages[0].endswith("24 images, 40 boxes, 3 classes")
    assert "mean IoU" in watcher.messages[1]


@pytest.mark.parametrize("options", [{}, {"options": {"ema_alpha": 0.9, "mosaic": 1}, "freeze": 2}])
def test_a_killed_training_goes_on_with_the_same_bits(
    network: Network, data: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    whole = quick(network, data, tmp_path / "whole", **options)

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    for number in (1, 3, 4, 6):  # before the first state, behind one, and at the end
        with pytest.raises(Killed):
            quick(network, data, tmp_path / "parts", callbacks=[Recorder(number, kill)], **options)
    parts = quick(network, data, tmp_path / "parts", **options)
    assert same(parts.network, whole.network)
    for name in ("net_last.weights", "net_4.weights", "metrics.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_larger_batches_of_smaller_images_go_on_with_the_same_bits(
    data: Path, tmp_path: Path
) -> None:
    cfg = shapes.DETECTOR.replace("[net]\n", "[net]\ndynamic_minibatch=1\n")
    sized = make(tmp_path, cfg.replace("jitter=.1\n", "jitter=.1\nrandom=1\n"))
    settings: dict[str, Any] = {"max_batches": 1000, "save_every": 7, "eval_every": 1000}

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    watcher = Recorder(15, kill)
    parts = [("parts", Recorder(number, kill)) for number in (9, 15)]
    for run, recorder in (("whole", watcher), *parts):
        with pytest.raises(Killed):
            quick(sized, data, tmp_path / run, callbacks=[recorder], **settings)
    assert any("more images where they are smaller" in each for each in watcher.messages)
    assert {report.size for report in watcher.batches} == {(64, 64), (32, 32)}
    assert watcher.batches[-1].seen == 15 * 8
    pair = [(tmp_path / run / "net_14.weights").read_bytes() for run in ("whole", "parts")]
    assert pair[0] == pair[1]


def test_ctrl_c_ends_behind_the_batch_and_keeps_the_state(
    network: Network, data: Path, tmp_path: Path
) -> None:
    watcher = Recorder(3, lambda: os.kill(os.getpid(), signal.SIGINT))
    result = quick(network, data, tmp_path / "run", save_every=100, callbacks=[watcher])
    assert (result.stopped, result.batches) == ("interrupt", 3)
    assert "run: 3 batches (stopped; the same command goes on)" in str(result)
    assert "run: 1 batch (" in str(replace(result, batches=1))
    later = Recorder()
    finished = quick(network, data, tmp_path / "run", save_every=100, callbacks=[later])
    assert [report.batch for report in later.batches] == [4, 5, 6]
    assert same(finished.network, quick(network, data, tmp_path / "other").network)
    once_more = Recorder()
    assert quick(network, data, tmp_path / "run", callbacks=[once_more]).batches == 6
    assert not once_more.batches


def test_the_state_of_another_training_is_refused(
    network: Network, data: Path, tmp_path: Path
) -> None:
    quick(network, data, tmp_path / "run", max_batches=2)
    with pytest.raises(UsageError, match="another training: seed was 0, is 1; fresh=True"):
        quick(network, data, tmp_path / "run", seed=1)
    assert quick(network, data, tmp_path / "run", seed=1, fresh=True).batches == 6
    data.write_text(data.read_text().replace("red, green", "green, red"))
    with pytest.raises(UsageError, match="training: names, line 1, was 'red', is 'green'; fresh"):
        quick(network, data, tmp_path / "run", seed=1)


def test_a_loss_that_is_not_finite(network: Network, data: Path, tmp_path: Path) -> None:
    broken = {"learning_rate": 1e6, "burn_in": 0, "max_batches": 8}
    with pytest.raises(TrainingError, match=r"batch \d: the (loss of layer 4 \[yolo\]|gradient)"):
        quick(network, data, tmp_path / "stop", **broken)
    kept = dt.load(tmp_path / "stop" / "net.cfg", tmp_path / "stop" / "net_last.weights")
    assert all(value.isfinite().all() for value in floats(kept).values())
    watcher = Recorder()
    result = quick(network, data, tmp_path / "lower", on_nan="lower", callbacks=[watcher], **broken)
    assert result.batches == 8
    assert any("learning rate x 0.5 from now on; skipped" in text for text in watcher.messages)


def test_patience_and_hours_end_a_training(
    network: Network, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darknet_torch.training.preparation.score_of", lambda *_, **__: 0.5)
    result = quick(network, data, tmp_path / "a", patience=2, eval_every=1)
    assert (result.stopped, result.batches) == ("patience", 3)
    watcher = Recorder()
    result = quick(
        network, data, tmp_path / "b", hours=0.001, max_batches=10**6, callbacks=[watcher],
        eval_every=10**6, save_every=10**6,
    )  # fmt: skip
    assert result.stopped == "hours"
    assert watcher.batches[-1].remaining < 3.6


def test_classifiers(tmp_path: Path) -> None:
    colors = shapes.draw_class_folders(tmp_path / "colors")
    result = quick(make(tmp_path, shapes.CLASSIFIER), colors, tmp_path / "run", max_batches=20)
    assert result.score is not None
    assert result.score > 0.9


def dataset_of(data: Path, change: Callable[[Sample], Sample]) -> Dataset:
    whole = dt_read(data)
    return Dataset(whole.names, tuple(map(change, whole.samples)), source="it")


def dt_read(data: Path) -> Dataset:
    from darknet_torch.data import read

    return read(data, "train")


@pytest.mark.parametrize(
    ("text", "change", "options", "message"),
    [
        (("classes=3", "classes=2"), None, {}, "needs? .*filters|14 filters"),
        (None, "class 7", {}, "it: class 7 occurs, but the network has 3 classes"),
        (None, "no boxes", {}, "it: no box in 24 images"),
        (None, "no images", {}, "it: no image that can be read"),
        (None, None, {"batch": 1}, "batch=1, subdivisions=2: a batch must have at least one image"),
        (None, None, {"batch": 3}, "subdivisions=2 must divide it"),
        (None, None, {"max_batches": 0}, "max_batches=0: must be at least 1"),
        (None, None, {"dtype": "float16"}, "dtype=float16: for graphics cards"),
        (None, None, {"options": {"mosaix": 1}}, "mosaix: no such option of the cfg"),
        (None, None, {"hours": -1}, "hours=-1: must be more than 0"),
        (None, None, {"freeze": 5}, "no layer is left to train"),
        (None, None, {"freeze": 1.5}, "freeze=1.5: a whole number expected"),
        (None, None, {"freeze": None}, "freeze=None: a whole number expected"),
        (None, None, {"seed": True}, "seed=True: a whole number expected"),
        (None, None, {"hours": "2"}, "hours='2': a number expected"),
        (None, None, {"on_nan": "go"}, "on_nan=go: stop, skip or lower expected"),
        (None, None, {"batch_norm": "x"}, "batch_norm=x: torch or darknet expected"),
        (None, None, {"dtype": "int8"}, "dtype=int8: auto, float32, bfloat16 or float16"),
        (None, None, {"callbacks": [5]}, "callbacks: 5: a Callback expected"),
        (None, None, {"callbacks": 5}, "callbacks=5: a list of Callbacks expected"),
        (("[yolo]", "[silence]\n#"), None, {}, "no layer has a loss"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    data: Path,
    tmp_path: Path,
    text: tuple[str, str] | None,
    change: str | None,
    options: dict[str, Any],
    message: str,
) -> None:
    def changed(sample: Sample) -> Sample:
        truth = sample.ground_truth
        if change == "class 7":
            truth = GroundTruth(xyxy=truth.xyxy, class_id=truth.class_id * 0 + 7)
        return Sample(
            sample.path, sample.width, sample.height,
            GroundTruth.empty() if change == "no boxes" else truth, sample.image_id,
        )  # fmt: skip

    cfg = shapes.DETECTOR
    if text is not None:
        assert text[0] in cfg
        cfg = cfg.replace(*text)
        cfg = cfg[: cfg.index("#")] if "#" in cfg else cfg
    source = dataset_of(data, changed)
    if change == "no images":
        source = source.take([])
    with pytest.raises(DarknetError) as caught:
        quick(make(tmp_path, cfg), source, tmp_path / "run", **options)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_tensorboard(network: Network, data: Path, tmp_path: Path) -> None:
    quick(network, data, tmp_path / "run", max_batches=1, tensorboard=True)
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_running_statistics_follow_fast_in_short_trainings(
    network: Network, data: Path, tmp_path: Path
) -> None:
    """With Darknet's share of .01 a network yields nothing for hundreds of batches."""
    result = quick(network, data, tmp_path / "run", max_batches=4)
    mean = result.network.layers[0].bn.running_mean  # type: ignore[union-attr]
    images = [Image.open(sample.path).resize((32, 32)) for sample in dt_read(data).samples]
    x = torch.tensor(np.stack([np.asarray(each) for each in images])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        seen = result.network.layers[0].conv(x).mean(dim=(0, 2, 3))  # type: ignore[operator,union-attr]
    assert torch.allclose(mean, seen, atol=0.25 * float(seen.abs().max()))
    assert result.network.layers[0].bn.momentum == 0.01  # type: ignore[union-attr]


def test_the_rate_can_be_lowered(network: Network) -> None:
    solver = Solver(network)
    solver.begin()
    whole = solver.step(8)
    solver.rate_factor = 0.5
    assert solver.step(8) == whole / 2 > 0


def test_a_training_goes_on_in_the_parts_that_it_began_with(
    network: Network, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(network, data, tmp_path / "run", max_batches=2)
    monkeypatch.setattr("darknet_torch.training.memory.available_bytes", lambda: 1)
    assert quick(network, data, tmp_path / "run", max_batches=4).batches == 4
    with pytest.raises(UsageError, match="a single image does not fit"):
        quick(network, data, tmp_path / "other", max_batches=2)


def test_what_a_training_needs_is_asked_for_at_its_start(
    network: Network, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(UsageError, match="safetensors is not installed: pip install"):
        quick(network, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
