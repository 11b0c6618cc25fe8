"""NCNN and LiteRT run files of ours and of others; damaged ones end in an error."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tflite_files import write_tflite

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.inference import engines
from darknet_torch.network import Network, as_network

NET = "[net]\nwidth=5\nheight=7\nchannels=3\n[activation]\nactivation=logistic\n"
PARAM = "7767517\n2 2\nInput in0 0 1 in0\nSigmoid act 1 1 in0 out0\n"
VECTORS = "[net]\ninputs=6\n[connected]\noutput=4\nactivation=relu\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ncnn_file(param: str = PARAM, weights: bytes | None = b"") -> Any:
    """Load net.param as the network of NET."""
    pytest.importorskip("ncnn", reason="ncnn is not installed")
    Path("net.cfg").write_text(NET)
    Path("net.param").write_text(param)
    if weights is not None:
        Path("net.bin").write_bytes(weights)
    return dt.load("net.cfg", "net.param")


# ---- NCNN


def test_a_file_of_another_converter(folder: Path) -> None:
    """Maps of 35 pixels, which NCNN keeps 36 apart; a batch, image by image."""
    converted, x = ncnn_file(), torch.randn(3, 3, 7, 5)
    torch.testing.assert_close(converted(x), torch.sigmoid(x))


def test_outputs_are_in_the_order_of_their_numbers(folder: Path) -> None:
    pytest.importorskip("ncnn", reason="ncnn is not installed")
    names = [f"out{number}" for number in range(11)]
    lines = [f"BinaryOp b{each} 1 1 c{each} {each} 0=0 1=1 2={each[3:]}.0" for each in names]
    copies = " ".join(f"c{each}" for each in names)
    text = f"Input in0 0 1 in0\nSplit s 1 12 in0 {copies} rest\n" + "\n".join(reversed(lines))
    Path("x.param").write_text(f"7767517\n13 24\n{text}\n")
    Path("x.bin").write_bytes(b"")
    outputs = engines.start(Path("x.param"), "ncnn")(np.zeros((2, 3, 4, 4), np.float32))
    assert [each.shape for each in outputs] == [(2, 3, 4, 4)] * 11, "the rest is no output"
    assert [float(each.max()) for each in outputs] == list(map(float, range(11)))


def test_it_computes_in_float32(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ncnn = pytest.importorskip("ncnn", reason="ncnn is not installed")
    made = []

    class Net(ncnn.Net):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(ncnn, "Net", Net)
    ncnn_file()
    names = [name for name in dir(made[0].opt) if "16" in name]
    assert len(names) >= 5
    assert not any(getattr(made[0].opt, name) for name in names)
    assert made[0].opt.num_threads == torch.get_num_threads()


@pytest.mark.parametrize(
    ("param", "weights", "message"),
    [
        ("", b"", "does not begin as a .param file of NCNN does"),
        ("<net/>\n", b"", "does not begin as"),
        (PARAM.replace("7767517", "7767518"), b"", "does not begin as"),
        (PARAM.replace("2 2", "9000000 2"), b"", "has 2 layers, and promises 9000000"),
        (PARAM.replace("2 2", "2 1"), b"", "has 2 blobs, and promises 1"),
        (PARAM.replace("2 2", "2 2000000000"), b"", "promises 2000000000"),
        (PARAM.replace("1 1 in0", "1 1 in9"), b"", "layer act reads in9, which no layer before"),
        (PARAM.replace(" out0", " in0"), b"", "layer act yields in0, which another one yields"),
        (PARAM.replace("1 1 in0 out0", "1 9 in0 out0"), b"", "the line of layer Sigmoid act is"),
        (PARAM.replace("act 1 1", "act x 1"), b"", "the line of layer Sigmoid act is cut"),
        (PARAM.replace("Sigmoid", "Sigmund"), b"", "a layer that this version of NCNN cannot"),
        (PARAM, None, "its weights, net.bin, are missing"),
        (
            PARAM.replace("Sigmoid act 1 1 in0 out0", "InnerProduct act 1 1 in0 out0 0=4 2=400"),
            b"\0" * 100,
            "net.bin has not the weights that it needs",
        ),
    ],
)
def test_damaged_files(param: str, weights: bytes | None, message: str, folder: Path) -> None:
    with pytest.raises(UsageError, match=f"^net.param: .*{message}") as error:
        ncnn_file(param, weights)
    assert "\n" not in str(error.value)


def test_a_file_of_another_network(folder: Path) -> None:
    converted = ncnn_file(PARAM.replace("Sigmoid act 1 1 in0 out0", "Pooling act 1 1 in0 out0 4=1"))
    with pytest.raises(UsageError, match="output 0 is 1 x 3"):
        converted(torch.rand(1, 3, 7, 5))


def test_outputs_of_one_pixel_are_maps(folder: Path) -> None:
    converted = ncnn_file(
        PARAM.replace("Sigmoid act 1 1 in0 out0", "Pooling act 1 1 in0 out0 0=1 4=1")
    )
    x = torch.rand(1, 3, 7, 5)
    Path("net.cfg").write_text(NET.replace("[activation]\nactivation=logistic", "[avgpool]"))
    converted = dt.load("net.cfg", "net.param")
    torch.testing.assert_close(converted(x), x.mean((2, 3), keepdim=True))


# ---- LiteRT


@pytest.fixture
def vectors(folder: Path) -> Network:
    torch.manual_seed(0)
    Path("net.cfg").write_text(VECTORS)
    network = as_network(dt.build("net.cfg"))
    write_tflite(network, Path("net.tflite"))
    return network


def test_litert_runs_a_file_of_another_converter(vectors: Network) -> None:
    converted, x = dt.load("net.cfg", "net.tflite"), torch.randn(3, 6)
    torch.testing.assert_close(converted(x), vectors(x))
    assert dt.verify(vectors, "net.tflite").good
    with torch.no_grad():
        next(vectors.parameters()).mul_(1.01)
    assert not dt.verify(vectors, "net.tflite").good


def test_litert_and_files_that_are_none(vectors: Network) -> None:
    Path("net.tflite").write_bytes(Path("net.tflite").read_bytes()[:300])
    with pytest.raises(UsageError, match="litert cannot run it") as error:
        dt.load("net.cfg", "net.tflite")
    assert "\n" not in str(error.value)


# ---- both


@pytest.mark.parametrize(("name", "package"), [("x.param", "ncnn"), ("x.tflite", "ai_edge_litert")])
def test_an_engine_that_is_not_installed(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "installed", lambda _: False)
    with pytest.raises(UsageError, match=f"{name}: {package} is not installed: pip install"):
        engines.engine_for(name)
