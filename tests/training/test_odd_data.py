"""Unusual images and boxes, small data sets; weights files of all kinds of networks."""

import struct
from pathlib import Path

import numpy as np
import pytest
import shapes
import torch
from PIL import Image

import darknet_torch as dt
from darknet_torch.data import Dataset, GroundTruth, Sample
from darknet_torch.training.loop import train

DETECTION = """[connected]
output=44
activation=linear
[detection]
side=2
num=2
classes=1
coords=4
sqrt=1
"""
REGION = """[convolutional]
filters=12
[region]
anchors=1,1, 2,2
classes=1
num=2
"""
HEADS = {
    "v1": ("pjreddie", DETECTION),
    "region": ("pjreddie", REGION),
    "recurrent": ("alexeyab", "[crnn]\npad=1\noutput=4\nhidden=4\nactivation=leaky\n" + REGION),
}
NET = """[net]
width=32
height=32
channels=3
batch=4
subdivisions=2
learning_rate=.001
max_batches=3
[convolutional]
batch_normalize=1
filters=4
size=3
stride=8
pad=1
activation=leaky
"""


def odd_images(folder: Path) -> Dataset:
    """One pixel, a box far larger than its image, a box at the last pixel, no box at all."""
    kinds = {
        (1, 1): [(0, 0, 1, 1)],
        (40, 20): [(-400, -200, 800, 900)],
        (20, 40): [(19, 39, 20, 40), (0, 0, 20, 40)],
        (200, 2): [],
    }
    samples = []
    for number, (size, boxes) in enumerate(kinds.items()):
        path = folder / f"{number}.png"
        Image.new("RGB", size, (90, 120, 40 * number)).save(path)
        truth = GroundTruth.empty()
        if boxes:
            ids = np.zeros(len(boxes), np.int64)
            truth = GroundTruth(xyxy=np.array(boxes, np.float64), class_id=ids)
        samples.append(Sample(path, *size, truth, number + 1))
    return Dataset(("it",), tuple(samples), source="odd")


@pytest.mark.parametrize("kind", HEADS)
def test_odd_images_are_trained_with_and_the_weights_file_is_whole(
    kind: str, tmp_path: Path
) -> None:
    dialect, head = HEADS[kind]
    (tmp_path / "net.cfg").write_text(NET + head)
    torch.manual_seed(0)
    network = dt.build(tmp_path / "net.cfg", dialect=dialect)
    result = train(network, odd_images(tmp_path), folder=tmp_path / "run", workers=0)
    path = tmp_path / "run" / "net_last.weights"
    count = sum(each.count for node in result.network.plan for each in node.segments)
    content = path.read_bytes()
    assert len(content) == 20 + 4 * count
    assert struct.unpack("<iiiQ", content[:20]) == (0, 2, 5, 3 * 4)
    again = dt.load(tmp_path / "net.cfg", path, dialect=dialect)
    x = torch.rand(1, 3, 32, 32)
    trained = result.network.to(memory_format=torch.contiguous_format)  # as `load` leaves it
    (one,), (other,) = trained(x), again(x)
    assert one.isfinite().all()
    assert torch.equal(one, other)
    for name, value in again.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, result.network.state_dict()[name]), name


def test_a_batch_may_be_larger_than_the_data_set(tmp_path: Path) -> None:
    network = dt.build(shapes.DETECTOR.replace("classes=3", "classes=1").replace(
        "filters=16\nsize=1", "filters=12\nsize=1"))  # fmt: skip
    images = odd_images(tmp_path).take([1, 2])
    result = train(network, images, folder=tmp_path / "run", workers=0, max_batches=2, batch=32)
    assert result.batches == 2
