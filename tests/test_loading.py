"""The front door: cfgs by name, path and text; class names; what `load` returns and refuses."""

from pathlib import Path

import pytest
import torch
from small_network import CFG

import darknet_torch as dt
from darknet_torch import zoo
from darknet_torch.errors import CfgError, DarknetWarning, DataError, UsageError, WeightsError
from darknet_torch.inference.converted import Converted
from darknet_torch.network import Network

pytestmark = pytest.mark.usefixtures("small_folder")


def test_a_cfg_is_a_name_a_path_or_a_text() -> None:
    assert len(dt.plan("yolov3-tiny")) == 24
    assert dt.plan("net.cfg").text == dt.plan(CFG).text == dt.plan(Path("net.cfg")).text
    assert [section.name for section in dt.parse_cfg(CFG)] == [
        "net",
        "convolutional",
        "convolutional",
        "yolo",
    ]
    with pytest.raises(CfgError, match=r"nothing\.cfg"):
        dt.plan("nothing.cfg")


def test_a_file_in_the_folder_hides_a_name() -> None:
    Path("yolov3-tiny").write_text(CFG)
    assert len(dt.plan("yolov3-tiny")) == 3


def test_names_of_the_zoo_bring_their_fork() -> None:
    assert dt.plan("yolov2").context.dialect is dt.PJREDDIE
    assert dt.plan("rnn").context.dialect is dt.PJREDDIE  # a cfg of several models
    assert dt.plan("yolov4-tiny").context.dialect is dt.ALEXEYAB
    assert dt.plan("yolov2", dialect="alexeyab").context.dialect is dt.ALEXEYAB
    assert dt.plan(CFG).context.dialect is dt.ALEXEYAB
    assert dt.build("yolov3-tiny").names[:2] == ("person", "bicycle")


def test_the_size_can_be_given() -> None:
    assert dt.plan("net.cfg", width=96, height=128).input == (3, 128, 96)
    with pytest.raises(UsageError, match="width=0: must be at least 1"):
        dt.plan("net.cfg", width=0)


def test_class_names() -> None:
    assert dt.build("net.cfg").names == ("ant", "bee")  # those beside the cfg
    assert dt.build(CFG).names == ()
    Path("other.names").write_text("cat\ndog\ncow\n")
    with pytest.warns(DarknetWarning, match=r"other.names: 3 names for 2 classes; the last are of"):
        network = dt.load("net.cfg", "net.weights", names="other.names")
    assert network.names == ("cat", "dog", "cow")
    Path("few.names").write_text("cat\n")
    with pytest.warns(DarknetWarning, match=r"few.names: 1 names for 2 classes; the others are sh"):
        network = dt.build("net.cfg", names="few.names")
    detections = dt.detect(network, torch.rand(3, 64, 64), threshold=0.2)
    assert {each.name for each in detections} == {"cat", "1"}
    classifier = CFG[: CFG.index("[yolo]")] + "[avgpool]\n[softmax]\n"
    with pytest.warns(DarknetWarning, match="few.names: 1 names for 14 classes"):
        dt.build(classifier, names="few.names")
    with pytest.raises(CfgError, match=r"names=none.names: no such file; looked for .*none.names"):
        dt.build("net.cfg", names="none.names")


def test_class_names_in_a_list() -> None:
    assert dt.build("net.cfg", names=["cat", "dog"]).names == ("cat", "dog")
    assert dt.load("net.cfg", "net.weights", names=("cat", "dog")).names == ("cat", "dog")
    with pytest.warns(DarknetWarning, match="names: 1 names for 2 classes"):
        assert dt.build("net.cfg", names=["cat"]).names == ("cat",)


def test_class_names_of_a_data_set() -> None:
    """The lines of its description are no names: those that it means are taken."""
    Path("data").mkdir()
    Path("data/my.names").write_text("wasp\nfly\n")
    Path("data/my.data").write_text("classes=2\nvalid=none.txt\nnames=my.names\n")
    Path("data/my.yaml").write_text("val: images\nnames: {0: hen, 1: cow}\n")
    assert dt.build("net.cfg", names="data/my.data").names == ("wasp", "fly")
    assert dt.build("net.cfg", names="data/my.yaml").names == ("hen", "cow")
    Path("imagenet.data").write_text("labels=ids.list\nnames=data/my.names\n")
    assert dt.build("net.cfg", names="imagenet.data").names == ("wasp", "fly")
    for file, text in (("none.data", "valid=x.txt\n"), ("x.yaml", "val: x\n"), ("x.json", "[1]")):
        Path(file).write_text(text)
        with pytest.raises(DataError, match=f"{file}: has no class names; a text"):
            dt.build("net.cfg", names=file)


def test_load_returns_a_network_or_a_converted_file(small_network: Network) -> None:
    assert isinstance(small_network, Network)
    assert small_network.loaded == 3
    dt.export(small_network, "net.onnx")
    x = torch.rand(1, 3, 64, 64)
    for loaded in (dt.load("net.onnx"), dt.load("net.cfg", "net.onnx", engine="onnxruntime")):
        assert isinstance(loaded, Converted)
        torch.testing.assert_close(loaded(x)[0], small_network(x)[0], rtol=0, atol=1e-5)


def test_all_that_runs_images_has_the_whole_protocol(small_network: Network) -> None:
    """Members of `Runnable`, without a default anywhere."""
    dt.export(small_network, "net.onnx")
    half = dt.build("net.cfg").half()
    for runnable, dtype, input_dtype in (
        (small_network, torch.float32, torch.float32),
        (half, torch.float16, torch.float16),
        (dt.optimize(small_network, compile=False), torch.float32, torch.float32),
        (dt.load("net.onnx"), torch.float32, torch.float32),
    ):
        assert runnable.device == torch.device("cpu")
        assert (runnable.dtype, runnable.input_dtype) == (dtype, input_dtype)
        assert (runnable.contents, runnable.letterbox) == ("raw", False)
        assert runnable.concurrent == (not isinstance(runnable, Converted))
        assert runnable.names == ("ant", "bee") or runnable is half
        assert runnable.plan.heads == (2,)


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        (("net.cfg",), {}, r"net.cfg: no weights given; load\(cfg, weights\) reads a file"),
        ((CFG,), {}, "<cfg>: no weights given"),
        (("net.cfg", "net.weights"), {"engine": "torch"}, "engine is for converted files"),
        (("net.pt",), {"partial": True}, "net.pt: partial is for .weights files"),
        (("net.pt",), {"cutoff": 1}, "net.pt: cutoff is for .weights files"),
    ],
)
def test_what_is_refused(arguments, options, error, small_network: Network) -> None:
    dt.export(small_network, "net.pt")
    with pytest.raises(UsageError, match=error):
        dt.load(*arguments, **options)


def test_calls_that_need_a_network_say_so(small_network: Network) -> None:
    fast = dt.optimize(small_network, compile=False)
    for call in (
        lambda: dt.save(fast, "x.weights"),
        lambda: dt.export(fast, "x.onnx"),
        lambda: dt.optimize(fast),
        lambda: dt.verify(fast, "x.onnx"),
    ):
        with pytest.raises(UsageError, match=r"a Network is .*Optimized"):
            call()


def test_a_backbone_of_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name stands for the file in the cache and for the number of its layers."""
    name = "yolov3-tiny.conv.11"
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    whole = dt.build("yolov3-tiny", width=32, height=32)
    dt.save(whole, tmp_path / "cache" / name, cutoff=11)
    assert zoo.cached(name) == tmp_path / "cache" / name
    assert dt.load("yolov3-tiny", name).loaded == 11
    assert dt.load("yolov3-tiny", name, cutoff=3).loaded == 3
    dt.save(whole, name, cutoff=5)  # a file of that name here is meant
    with pytest.raises(WeightsError):
        dt.load("yolov3-tiny", name)
    assert dt.load("yolov3-tiny", name, cutoff=5).loaded == 5
