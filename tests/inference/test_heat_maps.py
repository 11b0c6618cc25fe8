"""Heat maps: the highest score at each place, brought to the image."""

import numpy as np
import pytest
import torch
from PIL import Image

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.images.resizing import Placement
from darknet_torch.inference.detections import Detections
from darknet_torch.inference.detector import Detector
from darknet_torch.inference.heat_maps import HeatMapDetector, draw_heat, heat

CFG = """
[net]
width=64
height=32
channels=3
[convolutional]
filters=16
size=16
stride=16
activation=linear
[yolo]
mask=0,1
anchors=10,12, 30,20
classes=3
num=2
[route]
layers=-2
[maxpool]
size=2
stride=2
[yolo]
mask=0,1
anchors=10,12, 30,20
classes=3
num=2
"""


@pytest.fixture
def detector() -> Detector:
    torch.manual_seed(5)
    network = dt.build(CFG, dialect="alexeyab")
    network.names = ("ant", "bee", "cow")
    return Detector(network, threshold=0.5)


def test_cells_have_their_highest_score(detector: Detector) -> None:
    """Against loops over the cells; the coarse head has low scores everywhere."""
    generator = torch.Generator().manual_seed(1)
    fine = torch.randn(2, 16, 2, 4, generator=generator)
    coarse = torch.full((2, 16, 1, 2), -20.0)
    found = heat(detector, (fine, coarse))
    assert found.shape == (2, 2, 4)
    for image, y, x in np.ndindex(2, 2, 4):
        entries = fine[image, :, y, x].reshape(2, 8).sigmoid()
        best = max(float(e[4] * e[5 + c]) for e in entries for c in range(3))
        assert float(found[image, y, x]) == pytest.approx(best, abs=1e-6)


def test_of_some_classes(detector: Detector) -> None:
    fine, coarse = torch.full((1, 16, 2, 4), -20.0), torch.full((1, 16, 1, 2), -20.0)
    fine[0, [4, 5], 0, 1] = 9  # an ant
    coarse[0, [12, 14], 0, 1] = 9  # a bee
    ants, bees = (
        heat(Detector(detector.network, classes=[name]), (fine, coarse)) for name in ("ant", "bee")
    )
    assert ants[0].gt(0.5).nonzero().tolist() == [[0, 1]]
    assert bees[0].gt(0.5).nonzero().tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]


def test_a_head_that_is_no_number_is_cold(detector: Detector) -> None:
    nan = torch.full((1, 16, 2, 4), float("nan")), torch.full((1, 16, 1, 2), -20.0)
    assert heat(detector, nan).max() == 0


@pytest.mark.parametrize(("width", "height"), [(640, 320), (320, 320), (640, 100)])
def test_heat_lies_where_the_object_is(width: int, height: int) -> None:
    """The hot cell is that of the image's middle, whatever the margins of its letterbox are."""
    scores = torch.zeros(17, 33)
    scores[8, 16] = 1
    grey = Image.new("RGB", (width, height), (90, 90, 90))
    drawn = np.asarray(draw_heat(grey, scores, Placement(width, height, 64, 32, letterbox=True)))
    assert drawn.shape == (height, width, 3)
    red, blue = drawn[..., 0].astype(int), drawn[..., 2].astype(int)
    y, x = np.argwhere(red - blue > 50).mean(axis=0)
    assert (x, y) == pytest.approx((width / 2, height / 2), abs=3)
    assert blue[0, 0] > red[0, 0]


def test_beside_detections(detector: Detector, tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.effect_noise((90, 60), 90).convert("RGB").save(path)
    hot = HeatMapDetector(detector)
    (outcome,) = hot.stream([path])
    assert outcome.result is not None
    assert torch.equal(outcome.result.xyxy, dt.detect(detector.network, path, threshold=0.5).xyxy)
    assert hot.draw(outcome.result).size == (90, 60)
    with pytest.raises(UsageError, match="do not come from this detector"):
        hot.draw(Detections.empty((), 90, 60, str(path)))


def test_boxes_have_no_maps(detector: Detector) -> None:
    class Written(type(detector.network)):
        contents = "boxes"

    detector.network.__class__ = Written
    with pytest.raises(UsageError, match="a heat map needs raw maps"):
        HeatMapDetector(detector)
