"""Converted files as networks."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.inference import engines
from darknet_torch.inference.converted import Converted
from darknet_torch.network import Network
from darknet_torch.speed import engine_choice
from darknet_torch.speed.engine_choice import with_engine

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
pytest.importorskip("onnxscript", reason='needs the extra "onnx"')
pytest.importorskip("onnxruntime", reason='needs the extra "onnx"')

pytestmark = pytest.mark.usefixtures("small_folder")


def test_a_file_tells_its_network(small_network: Network) -> None:
    dt.export(small_network, "net.onnx")
    for loaded in (dt.load("net.onnx"), dt.load("net.cfg", "net.onnx")):
        assert isinstance(loaded, Converted)
        assert loaded.engine == "onnxruntime"
        assert loaded.names == ("ant", "bee")
        assert loaded.input_size == (64, 64)
    Path("other.names").write_text("cat\ndog\n")
    assert dt.load("net.onnx", names="other.names").names == ("cat", "dog")
    assert dt.load("net.onnx", width=96, height=128).input_size == (96, 128)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda file: pickle.loads(pickle.dumps(file))])
def test_copies(small_network: Network, copied: Callable[[Converted], Converted]) -> None:
    """The engine reads the file again."""
    dt.export(small_network, "net.onnx")
    file, x = dt.load("net.onnx"), torch.rand(1, 3, 64, 64)
    assert isinstance(file, Converted)
    for one, two in zip(file(x), copied(file)(x), strict=True):
        assert torch.equal(one, two)


def test_files_of_others(small_network: Network) -> None:
    """A file without our metadata needs the cfg beside it."""
    dt.export(small_network, "net.onnx")
    model = onnx.load("net.onnx")
    del model.metadata_props[:]
    onnx.save(model, "bare.onnx")
    with pytest.raises(UsageError, match=r"bare.onnx: no cfg inside; load\(cfg, 'bare.onnx'\)"):
        dt.load("bare.onnx")
    x = torch.rand(1, 3, 64, 64)
    assert torch.allclose(dt.load("net.cfg", "bare.onnx")(x)[0], small_network(x)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("none.onnx",), {}, "none.onnx: cannot be read: no such file"),
        (("damaged.onnx",), {}, "damaged.onnx: is no such file, or damaged"),
        (("net.onnx",), {"engine": "tensorflow"}, "engine tensorflow: must be one of"),
        (("net.onnx",), {"engine": "torch"}, "torch takes .pt2, .torchscript, .ts files"),
        (("net.onnx",), {"partial": True}, "partial is for .weights files"),
        (("net.cfg", "net.weights"), {"engine": "opencv"}, "engine is for converted files"),
        (("fixed.onnx",), {"width": 96}, "was exported for an input of"),
    ],
)
def test_wrong_files(
    arguments: tuple[str, ...], options: dict[str, Any], message: str, small_network: Network
) -> None:
    dt.export(small_network, "net.onnx")
    dt.export(small_network, "fixed.onnx", dynamic_size=False)
    Path("damaged.onnx").write_bytes(b"\x08\xff" * 100)
    with pytest.raises(UsageError, match=message) as error:
        dt.load(*arguments, **options)
    assert "\n" not in str(error.value)


def test_an_engine_that_is_not_installed(
    small_network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    dt.export(small_network, "net.onnx")
    monkeypatch.setitem(
        engines.ENGINES, "openvino", engines.ENGINES["openvino"]._replace(package="no_openvino")
    )
    with pytest.raises(UsageError, match="no_openvino is not installed"):
        dt.load("net.onnx", engine="openvino")


def test_every_engine_detects_the_same(small_network: Network) -> None:
    photo = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    expected = dt.detect(small_network, photo, threshold=0.1)
    assert len(expected) > 0
    for name in engine_choice.CHOICES:
        if name in ("auto", "torch") or engines.installed(name):
            run: Any = with_engine(small_network, name)
            detections = dt.detect(run, photo, threshold=0.1)
            assert torch.allclose(detections.xyxy, expected.xyxy, atol=1e-3)  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="engine tensorflow: must be one of auto, torch"):
        with_engine(small_network, "tensorflow")
