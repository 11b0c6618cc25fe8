"""What the command shows while it works: on a terminal only, and never in the midst of a line."""

import io
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import darknet_torch as dt
from darknet_torch.cli import detect, main, output, progress
from darknet_torch.cli.progress import activity, doing
from darknet_torch.speed.optimized import Optimized


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal; in the test itself, as pytest sets it between its steps."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "FIRST", 0.05)
    monkeypatch.setattr(progress, "EVERY", 0.02)
    return stream


def test_a_silent_verb_is_not_silent(monkeypatch, capsys) -> None:
    """A line comes before two seconds are over, goes on, and is gone at the end."""
    assert progress.FIRST < 2
    screen = terminal(monkeypatch)

    def slow(options: object) -> int:
        time.sleep(0.3)
        doing("verify")
        time.sleep(0.3)
        return 0

    monkeypatch.setattr("darknet_torch.cli.summary.run", slow)
    assert main(["summary", "x.cfg"]) == 0
    shown = screen.getvalue()
    assert shown.count("summary 00:00") > 2
    assert shown.index("summary 00:00") < shown.index("verify 00:00")
    assert shown.endswith("\r"), "the line is cleared"
    assert not shown.rpartition("\r")[0].rpartition("\r")[2].strip()
    assert capsys.readouterr().out == ""


def test_nothing_is_shown_elsewhere(monkeypatch) -> None:
    screen = terminal(monkeypatch)
    with output.verbosity(quiet=True, verbose=False), activity("convert"):
        time.sleep(0.1)
    assert screen.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with activity("convert"):
        time.sleep(0.1)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
    doing("outside of any")


def test_a_short_task_shows_nothing(monkeypatch) -> None:
    screen = terminal(monkeypatch)
    with activity("convert"):
        pass
    assert "convert" not in screen.getvalue()


def test_notes_stand_on_a_line_of_their_own(monkeypatch) -> None:
    screen = terminal(monkeypatch)
    with activity("convert"):
        time.sleep(0.1)
        output.note("a note")
        time.sleep(0.1)
    before, _, after = screen.getvalue().partition("a note\n")
    assert before.endswith("\r"), "the line was cleared"
    assert "convert" in before.replace("\r", "")
    assert "convert" in after


# ---- the fastest way


@pytest.fixture
def photos(small_network, tmp_path: Path) -> list[str]:
    names = [f"{number}.png" for number in range(detect.MANY)]
    for name in names:
        Image.effect_noise((70, 50), 90).convert("RGB").save(name)
    return names


@pytest.mark.parametrize(
    ("words", "count", "optimized"),
    [
        ("", 1, None),
        ("", detect.MANY - 1, None),
        ("", detect.MANY, (torch.float32, False)),
        ("--dtype float32", 1, (torch.float32, False)),
        ("--half", 1, (torch.float16, False)),
        ("--compile", 1, (torch.float32, True)),
        ("--engine torch", detect.MANY, None),
    ],
)
def test_many_images_are_computed_by_an_optimized_network(
    words: str, count: int, optimized, photos, monkeypatch, capsys
) -> None:
    """With the same boxes."""
    networks = []

    class Watched(detector_class()):  # type: ignore[misc]
        def __init__(self, network, **options) -> None:
            networks.append(network)
            super().__init__(network, **options)

    monkeypatch.setattr("darknet_torch.inference.detector.Detector", Watched)
    command = ["detect", "net.cfg", "net.weights", *photos[:count], "--save", "txt"]
    assert main([*command, *words.split(), "--device", "cpu"]) == 0
    (network,) = networks
    assert isinstance(network, Optimized) == (optimized is not None)
    if optimized is not None:
        assert network.compiles == optimized[1]
    plain = dt.load("net.cfg", "net.weights")
    for name in photos[:count]:
        written = (Path(name).parent / "detections" / f"{Path(name).stem}.txt").read_text()
        found = dt.detect(plain, name)
        assert isinstance(found, dt.Detections)
        if "half" not in words:
            assert numbers(written) == pytest.approx(numbers(found.to_yolo()), abs=2e-6)


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split()]


def detector_class() -> type:
    from darknet_torch.inference.detector import Detector

    return Detector


def test_the_engine_is_said(photos, capsys) -> None:
    pytest.importorskip("onnxruntime")
    words = ["detect", "net.cfg", "net.weights", photos[0], "--save", "none", "--engine"]
    for engine in ("torch", "onnxruntime"):
        assert main([*words, engine]) == 0
        assert f"engine: {engine}\n" in capsys.readouterr().err
