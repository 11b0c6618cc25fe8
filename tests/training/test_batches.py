"""Batches of training examples: the same in any process, and boxes that lie on their pixels."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from datasets import DETECTOR_CFG
from PIL import Image

import darknet_torch as dt
from darknet_torch.data.dataset import Dataset, GroundTruth, Sample
from darknet_torch.network.plan import Plan
from darknet_torch.training.augment_options import AugmentOptions
from darknet_torch.training.batches import Batch, batches
from darknet_torch.training.multiscale import SizeSchedule

SIZE = (160, 120)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Twelve dark images, each with one bright rectangle of the colour of its class."""
    folder, rng = tmp_path_factory.mktemp("drawn"), np.random.default_rng(5)
    samples = []
    for number in range(12):
        pixels = np.full((SIZE[1], SIZE[0], 3), 10, np.uint8)
        left, top = rng.integers(20, 70), rng.integers(15, 50)
        right, bottom = left + rng.integers(30, 60), top + rng.integers(25, 50)
        pixels[top:bottom, left:right, number % 2] = 250
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        truth = GroundTruth(xyxy=[[left, top, right, bottom]], class_id=[number % 2])
        samples.append(Sample(path, *SIZE, truth, number + 1))
    return Dataset(("red", "green"), tuple(samples), source="drawn")


def plan(options: str = "", *, dialect: str = "alexeyab", head: str = "") -> Plan:
    cfg = DETECTOR_CFG.replace("width=32\nheight=32", f"width=96\nheight=64\n{options}")
    return dt.plan(cfg + head, dialect=dialect)


def some(data: Dataset, of: Plan, count: int = 2, **arguments: Any) -> list[Batch]:
    changes = arguments.pop("changes", {})
    settings = {"batch": 4, "seed": 7, "size_of": SizeSchedule(of, 7)} | arguments
    made = batches(data, of, AugmentOptions.of(of, **changes), **settings)
    return list(islice(made, count))


def same(first: Batch, second: Batch) -> bool:
    names = ("boxes", "class_id", "valid", "has_box")
    return (
        torch.equal(first.images, second.images)
        and first.paths == second.paths
        and all(torch.equal(getattr(first.truth, n), getattr(second.truth, n)) for n in names)
    )


def test_batches_do_not_depend_on_processes_or_restarts(drawn: Dataset) -> None:
    of = plan("mosaic=1\nhue=.1\nsaturation=1.5\nexposure=1.5\n")
    here = some(drawn, of, 4)
    assert not same(here[0], here[1])
    for each, other in zip(here, some(drawn, of, 4, workers=2, cache="ram"), strict=True):
        assert same(each, other)
    for each, other in zip(here[2:], some(drawn, of, 2, start=2), strict=True):
        assert same(each, other)
