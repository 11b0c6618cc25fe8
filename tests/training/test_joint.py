"""Joint training, as of YOLO9000: images with a class and no boxes, beside those with boxes."""

from dataclasses import replace
from pathlib import Path

import pytest
import shapes
import torch
from PIL import Image

import darknet_torch as dt
from darknet_torch import data
from darknet_torch.cli import main
from darknet_torch.data import Dataset
from darknet_torch.errors import DataError, UsageError
from darknet_torch.network import Network
from darknet_torch.training.loop import train

REGION = """[region]
anchors=1,1, 2,2
classes=3
coords=4
num=2
softmax=1
bias_match=1
tree=colors.tree
"""
BLUE = 2


@pytest.fixture
def network(tmp_path: Path) -> Network:
    (tmp_path / "colors.tree").write_text("red -1\ngreen -1\nblue -1\n")
    text = shapes.DETECTOR[: shapes.DETECTOR.index("[yolo]")] + REGION
    (tmp_path / "net.cfg").write_text(text.replace("hue=.02\n", ""))
    torch.manual_seed(0)
    return dt.build(tmp_path / "net.cfg", dialect="pjreddie")


@pytest.fixture
def boxes(tmp_path: Path) -> Dataset:
    """Images with boxes, but for blue objects."""
    whole = data.read(shapes.draw_detection_set(tmp_path / "shapes"), "train")
    truths = [each.ground_truth for each in whole.samples]
    known = [truth[truth.class_id != BLUE] for truth in truths]
    samples = [replace(s, ground_truth=t) for s, t in zip(whole.samples, known, strict=True)]
    return Dataset(whole.names, tuple(samples), source="boxes")


@pytest.fixture
def blue(tmp_path: Path) -> Dataset:
    """Images of which only the class is known."""
    (tmp_path / "blue").mkdir()
    for number in range(4):
        image = Image.new("RGB", (32, 32), (45 + 3 * number, 60, 230))
        image.save(tmp_path / "blue" / f"{number}.png")
        (tmp_path / "blue" / f"{number}.txt").write_text("2 0 0 0 0\n")
    return data.read(tmp_path / "blue", names=("red", "green", "blue"))


def share_of_blue(network: Network, images: Dataset) -> float:
    """The mean probability of the class where the objectness is highest."""
    found = []
    for sample in images.samples:
        (raw,) = network(pixels(sample.path))
        maps = raw.view(2, 8, -1)
        probability = maps[:, 5:].softmax(dim=1)[:, BLUE]
        found.append(probability.flatten()[maps[:, 4].flatten().argmax()])
    return float(torch.stack(found).mean())


def pixels(path: Path) -> torch.Tensor:
    image = torch.frombuffer(bytearray(Image.open(path).tobytes()), dtype=torch.uint8)
    return image.view(1, 32, 32, 3).permute(0, 3, 1, 2).float() / 255


def test_a_row_of_zeros_is_a_class_without_a_box(blue: Dataset) -> None:
    assert [sample.label for sample in blue.samples] == [BLUE] * 4
    assert not blue.faults


def test_classes_without_boxes_are_learnt_from_images_with_a_class(
    network: Network, boxes: Dataset, blue: Dataset, tmp_path: Path
) -> None:
    shares = []
    for joint in (None, blue):
        result = train(
            network, boxes, joint=joint, folder=tmp_path / f"{joint is blue}", workers=0,
            max_batches=60, learning_rate=0.02, burn_in=0, options={"policy": "constant"},
        )  # fmt: skip
        with torch.no_grad():
            shares.append(share_of_blue(result.network, blue))
    assert shares[0] < 0.7
    assert shares[1] > 0.9


def test_joint_images_that_cannot_be_used(
    network: Network, boxes: Dataset, blue: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="has no class, which joint images need"):
        train(network, boxes, joint=boxes, folder=tmp_path / "run")
    plain = dt.build(shapes.DETECTOR)
    with pytest.raises(UsageError, match="with a word tree"):
        train(plain, boxes, joint=blue, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_of_the_documentation(tmp_path: Path, network: Network, blue: Dataset) -> None:
    text = network.plan.text.replace("tree=colors.tree", f"tree={tmp_path / 'colors.tree'}")
    (tmp_path / "yolo9000.cfg").write_text(text)
    boxes = shapes.draw_detection_set(tmp_path / "shapes")
    (tmp_path / "imagenet.yaml").write_text("train: blue\nnames: [red, green, blue]\n")
    words = ["train", str(tmp_path / "yolo9000.cfg"), str(boxes)]
    words += ["--joint", str(tmp_path / "imagenet.yaml"), "--joint-share", "0.5"]
    small = ["--scratch", "--max-batches", "2", "--workers", "0", "--dialect", "pjreddie"]
    assert main([*words, *small, "--folder", str(tmp_path / "training")]) == 0
    assert (tmp_path / "training" / "yolo9000_last.weights").is_file()


def test_the_word_tree_lies_beside_the_written_cfg(
    network: Network, boxes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another folder, with another current one, the result is loaded and goes on."""
    folder = tmp_path / "result"
    result = train(network, boxes, folder=folder, max_batches=1, batch=4, subdivisions=1, workers=0)
    (tmp_path / "colors.tree").unlink()
    monkeypatch.chdir(tmp_path.parent)
    again = dt.load(result.cfg, result.weights, dialect="pjreddie")
    assert again.plan.head_layers[0].word_tree is not None
