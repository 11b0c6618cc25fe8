"""NCNN runs what was converted for it, with the numbers of the network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_network import CFG

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.errors import UsageError
from darknet_torch.inference.converted import Converted
from darknet_torch.network import Network

ncnn = pytest.importorskip("ncnn", reason="ncnn is not installed")
pytest.importorskip("pnnx", reason="pnnx is not installed")

CONVOLUTION = "[convolutional]\nsize=1\nfilters={}\nactivation={}\n"
MANY = f"""[net]
width=32
height=48
channels=4
[convolutional]
size=3
stride=2
pad=1
filters=8
batch_normalize=1
activation=mish
[maxpool]
size=2
stride=1
[reorg]
stride=2
[route]
layers=-1
groups=2
group_id=1
[upsample]
stride=2
[route]
layers=-1,-4
{CONVOLUTION.format(8, "swish")}
[shortcut]
from=1
activation=leaky
[local_avgpool]
size=3
stride=2
[reorg3d]
stride=2
{CONVOLUTION.format(22, "linear")}
[Gaussian_yolo]
mask=0,1
anchors=10,14, 30,40
classes=2
num=2
[route]
layers=-3
{CONVOLUTION.format(14, "linear")}
[yolo]
mask=0,1
anchors=10,14, 30,40
classes=2
num=2
scale_x_y=1.05
"""


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.cfg, net.weights, net.names of a network of many layers, and its boxes in net.param."""
    folder = tmp_path_factory.mktemp("ncnn")
    torch.manual_seed(0)
    (folder / "net.cfg").write_text(MANY)
    (folder / "net.names").write_text("ant\nbee\n")
    network = dt.build(folder / "net.cfg")
    dt.save(network, folder / "net.weights")
    dt.export(network, folder / "net.param", contents="boxes")
    return folder


@pytest.fixture
def network(converted: Path) -> Network:
    return dt.load(converted / "net.cfg", converted / "net.weights")  # type: ignore[return-value]


def test_boxes_of_many_layers(converted: Path, network: Network) -> None:
    report = dt.verify(network, converted / "net.param", images=[torch.rand(4, 48, 32)])
    assert report.good, report
    checks = ["boxes", "scores", "detections, probability", "detections, 1 - IoU"]
    assert [check.what for check in report.checks] == checks


def test_the_files_say_what_they_are(converted: Path) -> None:
    assert sorted(each.name for each in converted.iterdir()) == [
        *("net.bin", "net.cfg", "net.names", "net.param", "net.weights")
    ]
    net = ncnn.Net()
    assert net.load_param(str(converted / "net.param")) == 0
    assert net.load_model(str(converted / "net.bin")) == 0
    assert net.input_names() == ["images"]
    assert {"boxes", "scores"} <= set(net.output_names())
    model: Any = dt.load(converted / "net.param")
    assert isinstance(model, Converted)
    assert (model.engine, model.contents, model.names) == ("ncnn", "boxes", ("ant", "bee"))
    assert not model.origin.dynamic_batch
    assert not model.origin.dynamic_size


def test_another_network_is_told(converted: Path, network: Network) -> None:
    with torch.no_grad():
        next(network.parameters()).mul_(1.01)
    report = dt.verify(network, converted / "net.param", images=[torch.rand(4, 48, 32)])
    assert not report.good


def test_the_command_runs_it(small_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("convert net.cfg net.weights -o net.param --dtype float16".split()) == 0
    assert "ok   output 0" in capsys.readouterr().out
    assert 0 < Path("net.bin").stat().st_size < Path("net.weights").stat().st_size
    assert main("verify net.cfg net.weights net.param".split()) == 0
    assert "detections, probability of" in capsys.readouterr().out
    sample = str(Path(dt.__file__).parent / "../cfg/sample.jpg")
    for file in ("net.param", "net.cfg net.weights"):
        command = ["detect", *file.split(), sample, "--save", "none", "--threshold", ".1"]
        assert main(command) == 0
    assert len(capsys.readouterr().out.splitlines()) > 1


def test_a_layer_that_ncnn_lacks_is_named(tmp_path: Path) -> None:
    """By the section and its line, in one line, and nothing is written; not those before it."""
    first, _ = CFG.split("[convolutional]\nfilters=14")
    section = CONVOLUTION.format(4, "stair")
    (tmp_path / "net.cfg").write_text(f"{first}[avgpool]\n{section}")
    with pytest.raises(UsageError, match=r"net.cfg:13: \[convolutional\]: NCNN has no") as error:
        dt.export(dt.build(tmp_path / "net.cfg"), tmp_path / "net.param")
    assert "\n" not in str(error.value)
    assert [each.name for each in tmp_path.iterdir()] == ["net.cfg"]


def test_contents_that_ncnn_has_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contents=detections: must be raw or boxes"):
        dt.export(dt.build(CFG), tmp_path / "net.param", contents="detections")
