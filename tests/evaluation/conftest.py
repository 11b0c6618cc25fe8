"""A small detector and data set in the current folder, for all tests of this folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import DETECTOR_CFG
from PIL import Image

import darknet_torch as dt


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """net.cfg, net.weights, net.names, data.yaml: 7 images, annotated with some detections."""
    torch.manual_seed(3)
    (tmp_path / "net.cfg").write_text(DETECTOR_CFG)
    (tmp_path / "net.names").write_text("ant\nbee\n")
    network = dt.build(tmp_path / "net.cfg")
    dt.save(network, tmp_path / "net.weights")
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(7):
        path = tmp_path / "photos" / f"{number}.png"
        small = rng.integers(0, 255, (6, 5, 3), np.uint8)
        Image.fromarray(small).resize((60 + number, 50)).save(path)
        detections = dt.detect(network, path, threshold=0.2)
        some = detections[number % 2 :: 2] if number else detections[:0]
        path.with_suffix(".txt").write_text(some.clip().to_yolo())
    (tmp_path / "data.yaml").write_text("val: photos\nnames: [ant, bee]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def network(folder: Path) -> dt.Network:
    return dt.load("net.cfg", "net.weights")
