"""Thresholds of each class: what they mean, and where on the way to detections they apply."""

import pytest
import torch

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.heads.boxes import Candidates
from darknet_torch.inference.detector import Detector
from darknet_torch.inference.thresholds import Thresholds

NAMES = ("ant", "bee", "cow")
CFG = """
[net]
width=32
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
"""


def of(given, default=0.25) -> Thresholds:
    return Thresholds.of(given, default, NAMES, 3)


@pytest.mark.parametrize(
    ("given", "lowest", "by_class"),
    [
        (None, 0.25, None),
        (0, 0.0, None),
        (0.4, 0.4, None),
        ({"bee": 0.5}, 0.25, (0.25, 0.5, 0.25)),
        ({"bee": 0.1, "*": 0.6}, 0.1, (0.6, 0.1, 0.6)),
        ({"2": 0.5, 0: 0.7}, 0.25, (0.7, 0.25, 0.5)),
        ({}, 0.25, (0.25, 0.25, 0.25)),
    ],
)
def test_what_an_argument_means(given, lowest, by_class) -> None:
    assert of(given) == Thresholds(lowest, by_class)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bees": 0.5}, "threshold: 'bees' is no class of this network; did you mean bee?"),
        ({"x": 0.5}, "threshold: 'x' is no class of this network; there are ant, bee, cow"),
        ({3: 0.5}, "threshold: 3 is no class of this network"),
        ({"bee": 1.5}, "threshold of bee=1.5: must be from 0 to 1"),
        ({"*": -1}, r"threshold of \*=-1: must be from 0 to 1"),
        ({"bee": "high"}, "threshold of bee: must be a number from 0 to 1, not 'high'"),
        (float("nan"), "threshold=nan: must be from 0 to 1"),
        (True, "threshold: must be a number from 0 to 1, not True"),
    ],
)
def test_what_cannot_be(given, message) -> None:
    with pytest.raises(UsageError, match=message):
        of(given)


def test_share_of_all() -> None:
    assert of({"bee": 0.5}).scaled(0.5) == Thresholds(0.125, (0.125, 0.25, 0.125))
    assert of({"bee": 0.5}).highest == 0.5
    assert of(0.4).scaled(0.5) == Thresholds(0.2)
    ids = torch.tensor([1, 0])
    assert of({"bee": 0.5}).of_classes(ids).tolist() == [0.5, 0.25]
    assert of(0.5).of_classes(ids).tolist() == [0.5, 0.5]


def test_scores_of_candidates_below_become_zero() -> None:
    scores = torch.tensor([[0.3, 0.3, 0.3], [0.5, 0.5, 0.25]])
    one = torch.ones(2)
    applied = of({"bee": 0.5}).applied(Candidates(one.long(), torch.zeros(2, 4), one, scores))
    assert torch.equal(applied.scores, torch.tensor([[0.3, 0, 0.3], [0.5, 0, 0]]))


@pytest.fixture
def network() -> dt.Network:
    torch.manual_seed(5)
    network = dt.build(CFG, dialect="alexeyab")
    network.names = NAMES
    return network


def test_each_class_has_the_detections_of_its_own_threshold(network) -> None:
    """NMS works class by class, so that those of a class are those of a run at its threshold."""
    image = torch.rand(3, 60, 60, generator=torch.Generator().manual_seed(0))
    given = {"ant": 0.23, "cow": 0.3, "*": 0.26}
    found = dt.detect(network, image, threshold=given)
    counts = []
    for name, threshold in (("ant", 0.23), ("bee", 0.26), ("cow", 0.3)):
        alone = dt.detect(network, image, threshold=threshold, classes=[name])
        mine = found.filter(name)
        assert torch.equal(mine.xyxy, alone.xyxy)
        assert torch.equal(mine.score, alone.score)
        counts.append(len(mine))
    assert sum(counts) == len(found)
    assert len(dt.detect(network, image, threshold=0.23)) > len(found) > 0


def test_a_box_below_the_threshold_of_its_class_suppresses_none(network) -> None:
    """With `agnostic` boxes of all classes compete: thresholds come first."""
    detector = Detector(network, threshold={"ant": 0.9, "*": 0.2}, agnostic=True)
    logit = torch.tensor([0.6, 0.5, 0.0]).logit(eps=1e-6)
    raw = torch.full((1, 16, 2, 2), -9.0)
    raw[0, :4, 0, 0], raw[0, 4, 0, 0], raw[0, 5:8, 0, 0] = 0, 9, logit
    prepared = detector.prepare(torch.zeros(3, 32, 32))
    (found,) = detector.postprocess((raw,), [prepared])
    assert [each.name for each in found] == ["bee"]


def test_files_with_nms_inside_have_them_too(network) -> None:
    rows = torch.tensor([[0, 0, 0, 0.5, 0.5, 0.6, 0], [0, 0.5, 0.5, 1, 1, 0.6, 1]])

    class Written(type(network)):
        contents = "detections"

    network.__class__ = Written
    detector = Detector(network, threshold={"ant": 0.7})
    (found,) = detector.postprocess((rows,), [detector.prepare(torch.zeros(3, 32, 32))])
    assert [each.name for each in found] == ["bee"]


def test_settings_of_a_cache_tell_them_apart(network) -> None:
    texts = {Detector(network, threshold=each).settings for each in (0.5, {"ant": 0.5}, None)}
    assert len(texts) == 3
