"""The verb serve: what its words stand for, its options and errors. The server is tested alone."""

import os
import signal
from typing import Any

import pytest

from darknet_torch.cli import main
from darknet_torch.cli.serve import named_files
from darknet_torch.errors import UsageError
from darknet_torch.server import running


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["yolov4-tiny"], {"yolov4-tiny": ("yolov4-tiny", None)}),
        (["net.cfg", "net.weights"], {"net": ("net.cfg", "net.weights")}),
        (["a=net.cfg", "net.weights"], {"a": ("net.cfg", "net.weights")}),
        (
            ["yolov3", "net.cfg", "net.weights", "b=x.onnx", "y.onnx"],
            {
                "yolov3": ("yolov3", None),
                "net": ("net.cfg", "net.weights"),
                "b": ("x.onnx", None),
                "y": ("y.onnx", None),
            },
        ),
    ],
)
def test_words(small_folder, words: list[str], files: dict[str, Any]) -> None:
    assert named_files(words) == files


def test_two_of_one_name(small_folder) -> None:
    with pytest.raises(UsageError, match=r"net: two models have this name; NAME=net\.onnx"):
        named_files(["net.cfg", "net.weights", "net.onnx"])


def test_options_reach_the_server(small_network, monkeypatch) -> None:
    calls: list[tuple[Any, dict[str, Any]]] = []

    def serve(models: Any, **settings: Any) -> None:
        calls.append((models, settings))

    monkeypatch.setattr(running, "serve", serve)
    monkeypatch.setenv("DARKNET_TORCH_API_KEY", "from the environment")
    options = ["--port", "81", "--allowed-hosts", "a.example,b.example", "--batch-size", "4"]
    assert main(["serve", "net.cfg", "net.weights", "b=net.cfg", "net.weights", *options]) == 0
    (models, settings), *_ = calls
    assert list(models) == ["net", "b"]
    assert models["net"].names == ("ant", "bee")
    assert settings["port"] == 81
    assert settings["allowed_hosts"] == ["a.example", "b.example"]
    assert settings["batch_size"] == 4
    assert settings["api_key"] == "from the environment"
    assert main(["serve", "net.cfg", "net.weights", "--api-key", "mine"]) == 0
    assert calls[1][1]["api_key"] == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none"], "none: no such file, and no such model"),
        (["net.cfg"], "net.cfg: no weights given"),
        (["net.cfg", "net.weights", "--port", "x"], "--port: x: must be a whole number"),
        (["net.cfg", "net.weights", "--batch-size", "0"], "batch_size=0: must be at least 1"),
        (["net.cfg", "net.weights", "--max-bytes", "0"], "max_bytes=0: must be above 0"),
        (["net.cfg", "net.weights", "--api-key", " "], "api_key: is empty"),
        (["net.cfg", "net.weights", "--host", "no such host"], "port 8000 of no such host: "),
        (
            ["net.cfg", "net.weights", "a=net.cfg", "net.weights", "--names", "net.names"],
            "--names: for a single MODEL",
        ),
    ],
)
def test_errors_are_one_line(small_network, words: list[str], message: str, capsys) -> None:
    assert main(["serve", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_missing_package(small_network, monkeypatch, capsys) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "net.cfg", "net.weights"]) == 2
    assert "uvicorn is not installed: pip install" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_before_the_server_listens(number, small_network, monkeypatch) -> None:
    """The server has not taken the signals over yet, so it would run on."""
    listened = []

    def make_app(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), number)

    monkeypatch.setattr(running, "make_app", make_app)
    monkeypatch.setattr(running, "_run", lambda *_: listened.append(True))
    assert main(["serve", "net.cfg", "net.weights", "--port", "0"]) == 130
    assert not listened
