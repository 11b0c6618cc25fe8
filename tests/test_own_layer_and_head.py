"""A layer with parameters and a head that the package does not know do all that its own do."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.evaluation import DetectionResult
from darknet_torch.exporters.verification import verify
from darknet_torch.heads.base import Cells, Head
from darknet_torch.heads.nms import NmsKind
from darknet_torch.inference.converted import Converted
from darknet_torch.inference.detector import Detector
from darknet_torch.layers import Layer, Segment, Shape, layer, option

CFG = """[net]
width=32
height=32
channels=3
[convolutional]
filters=7
size=4
stride=4
activation=linear
[own_gain]
[own_grid]
classes=2
"""


class Gain(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor[:, None, None]


@layer("own_gain")
class OwnGain(Layer):
    """[own_gain]: a factor for each channel; the shape stays."""

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0].map()

    def build(self, *shapes: Shape) -> nn.Module:
        return Gain(shapes[0].c)

    def weights(self, *shapes: Shape) -> Iterable[Segment]:
        yield Segment("scales", "factor", (shapes[0].c,))


@layer("own_grid")
class OwnGrid(Head):
    """[own_grid]: entries x, y, w, h, objectness, classes of each cell; sizes in cells."""

    stretches_images: ClassVar[bool] = True
    classes: int = option(1, check=lambda n: n > 0, expected="at least 1")

    def nms(self) -> tuple[NmsKind, float]:
        return "diounms", 0.8

    def shape(self, *inputs: Shape) -> Shape:
        if inputs[0].map().c != 5 + self.classes:
            raise ValueError(f"needs {5 + self.classes} filters before it")
        return inputs[0]

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.sigmoid(inputs[0])

    def maps(self, raw: Tensor) -> Tensor:
        return raw[:, None]

    def boxes(self, entries: Tensor, cells: Cells) -> Tensor:
        x = (torch.sigmoid(entries[..., 0]) + cells.x) / cells.grid[1]
        y = (torch.sigmoid(entries[..., 1]) + cells.y) / cells.grid[0]
        w = 4 * torch.sigmoid(entries[..., 2]) / cells.grid[1]
        h = 4 * torch.sigmoid(entries[..., 3]) / cells.grid[0]
        return torch.stack((x, y, w, h), dim=-1)

    def scores(self, entries: Tensor, objectness: Tensor) -> Tensor:
        return objectness[..., None] * torch.sigmoid(entries[..., 5:])


@pytest.fixture
def network() -> dt.Network:
    torch.manual_seed(3)
    network = dt.build(CFG, dialect="pjreddie")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    network.names = ("ant", "bee")
    return network


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def assert_same(got: dt.Detections, want: dt.Detections, tolerance: float = 1e-4) -> None:
    assert len(got) == len(want) > 3
    torch.testing.assert_close(got.score, want.score, rtol=0, atol=tolerance)
    torch.testing.assert_close(got.xyxy, want.xyxy, rtol=0, atol=100 * tolerance)
    assert got.class_id.tolist() == want.class_id.tolist()


def test_it_saves_and_loads(network: dt.Network, tmp_path: Path) -> None:
    dt.save(network, tmp_path / "own.weights")
    (tmp_path / "own.cfg").write_text(CFG)
    again = dt.load(tmp_path / "own.cfg", tmp_path / "own.weights")
    assert isinstance(again, dt.Network)
    dt.save(again, tmp_path / "again.weights")
    written = (tmp_path / "own.weights").read_bytes()
    assert (tmp_path / "again.weights").read_bytes() == written
    assert len(written) == 20 + 4 * (7 + 7 * 3 * 16 + 7)
    with pytest.raises(dt.DarknetError, match=r"<cfg>:11: \[own_grid\]: needs 8 filters before"):
        dt.plan((tmp_path / "own.cfg").read_text().replace("classes=2", "classes=3") + "\n")
    with pytest.raises(dt.DarknetError):
        dt.load(CFG.replace("filters=7", "filters=6"), tmp_path / "own.weights")


def test_its_facts_are_asked_for(network: dt.Network, image: Path) -> None:
    detector = Detector(network)
    assert (detector.nms_kind, detector.postprocessing.beta) == ("diounms", 0.8)
    assert not detector.letterbox  # though the fork letterboxes
    assert network.plan.context.dialect.letterbox
    with pytest.raises(UsageError, match="no word tree"):
        Detector(network, use_map="some.map")


def test_it_detects(network: dt.Network, image: Path) -> None:
    """As a loop over all cells finds, and NMS by hand."""
    found = dt.detect(network, image, threshold=0.2, nms=0)
    pixels = Detector(network).prepare(image).pixels[None]
    with torch.inference_mode():
        raw = network(pixels)[0][0]
    rows = []
    for y in range(8):
        for x in range(8):
            tx, ty, tw, th, to, *tc = torch.sigmoid(raw[:, y, x]).tolist()
            if to > 0.2:
                rows += [
                    (to * c, (tx + x) / 8, (ty + y) / 8, tw / 2, th / 2, n)
                    for n, c in enumerate(tc)
                    if to * c > 0.2
                ]
    rows.sort(reverse=True)
    assert len(found) == len(rows) > 5
    for d, (score, x, y, w, h, number) in zip(found, rows, strict=True):
        assert d.score == pytest.approx(score, abs=1e-5)
        assert d.class_id == number
        box = ((x - w / 2) * 60, (y - h / 2) * 40, (x + w / 2) * 60, (y + h / 2) * 40)
        assert d.box == pytest.approx(box, abs=1e-3)


def test_it_is_optimized(network: dt.Network, image: Path) -> None:
    fast = dt.optimize(network, compile=False)
    assert_same(dt.detect(fast, image, threshold=0.2), dt.detect(network, image, threshold=0.2))


def test_it_is_exported(network: dt.Network, image: Path, tmp_path: Path) -> None:
    want = dt.detect(network, image, threshold=0.2)
    for ending in ("onnx", "pt2", "torchscript"):
        path = tmp_path / f"own.{ending}"
        dt.export(network, path, contents="boxes")
        converted = dt.load(path, trusted=True)
        assert isinstance(converted, Converted)
        assert converted.letterbox is False
        assert_same(dt.detect(converted, image, threshold=0.2), want)
        assert verify(network, path, images=[image], trusted=True).good
    dt.export(network, tmp_path / "all.onnx", contents="detections", threshold=0.2)
    converted = dt.load(tmp_path / "all.onnx", engine="onnxruntime")
    assert converted.origin.nms_kind == "diounms"
    assert_same(dt.detect(converted, image, threshold=0.2), want)
    for ending in ("safetensors", "pt"):
        dt.export(network, tmp_path / f"own.{ending}")
        assert_same(dt.detect(dt.load(tmp_path / f"own.{ending}"), image, threshold=0.2), want)


def test_it_is_evaluated(network: dt.Network, image: Path, tmp_path: Path) -> None:
    """Its own detections as ground truth are all found."""
    found = dt.detect(network, image, threshold=0.3)
    image.with_suffix(".txt").write_text(found.clip().to_yolo())
    (tmp_path / "own.yaml").write_text("val: image.png\nnames: [ant, bee]\n")
    result = dt.evaluate(network, tmp_path / "own.yaml", confidence=0.3)
    assert isinstance(result, DetectionResult)
    present = sorted(set(found.class_id.tolist()))
    assert [result.rows()[n]["recall"] for n in present] == [1.0] * len(present)
    assert result.to_dict()["darknet"]["tp"] == len(found) > 3
