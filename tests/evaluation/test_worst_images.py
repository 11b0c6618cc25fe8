"""Worst images: ground truth on the left, detections on the right."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_torch.data import GroundTruth, Sample
from darknet_torch.errors import ImageError
from darknet_torch.evaluation.worst_images import write_worst_images
from darknet_torch.images.drawing import class_color
from darknet_torch.inference.detections import Detections


def pair(folder: Path, size=(300, 200)) -> tuple[Sample, Detections]:
    path = folder / "photo.png"
    Image.new("RGB", size, (120, 120, 120)).save(path)
    ground_truth = GroundTruth(xyxy=np.array([[50, 60, 150, 160.0]]), class_id=np.array([1]))
    detections = Detections(
        torch.tensor([[60.0, 70, 160, 170]]), torch.tensor([0.9]), torch.tensor([2]),
        ("a", "b", "c"), *size,
    )  # fmt: skip
    return Sample(path, *size, ground_truth, 1), detections


def is_color(pixels, class_id: int) -> np.ndarray:
    return (pixels == class_color(class_id)).all(axis=-1)


def test_the_ground_truth_stands_left_of_the_detections(tmp_path) -> None:
    sample, detections = pair(tmp_path)
    written = write_worst_images(
        [(sample, detections, 3), (sample, detections, 1)], tmp_path / "worst"
    )
    assert [path.name for path in written] == ["001-photo.png", "002-photo.png"]
    assert sorted((tmp_path / "worst").iterdir()) == written
    pixels = np.asarray(Image.open(written[0]))
    assert pixels.shape == (228, 608, 3)
    left, right = is_color(pixels, 1), is_color(pixels, 2)
    assert left[28 + 60 : 28 + 161, 50].all() and not left[:, 300:].any()
    assert right[28 + 70 : 28 + 171, 308 + 60].all() and not right[:, :308].any()


def test_large_images_are_made_smaller(tmp_path) -> None:
    sample, detections = pair(tmp_path, (1280, 200))
    (written,) = write_worst_images([(sample, detections, 0)], tmp_path / "worst")
    assert Image.open(written).size == (640 * 2 + 8, 100 + 28)


def test_an_image_that_does_not_exist_raises(tmp_path) -> None:
    sample, detections = pair(tmp_path)
    sample.path.unlink()
    with pytest.raises(ImageError, match=r"photo\.png"):
        write_worst_images([(sample, detections, 0)], tmp_path / "worst")
    assert not list((tmp_path / "worst").iterdir())
