"""Validation images whose classes are others than those of the training."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import shapes

import darknet_torch as dt
from darknet_torch.data import Dataset, read
from darknet_torch.errors import DarknetWarning, DataError, UsageError
from darknet_torch.training.loop import train


def run(cfg: str, source: Path, val: Dataset, folder: Path) -> None:
    options = {"max_batches": 4, "batch": 4, "subdivisions": 1}
    network = dt.build(cfg)
    train(network, source, val=val, options=options, folder=folder, workers=0, eval_every=1)


@pytest.mark.parametrize(
    ("cfg", "draw"),
    [
        (shapes.DETECTOR, shapes.draw_detection_set),
        (shapes.CLASSIFIER, shapes.draw_class_folders),
    ],
)
def test_a_class_that_is_not_trained_is_refused_before_the_first_batch(
    cfg: str, draw: Callable[..., Path], tmp_path: Path
) -> None:
    path, folder = draw(tmp_path / "data", 12), tmp_path / "run"
    val = read(path, "val")
    other = replace(val, names=("other", *val.names[1:], "more"))
    with pytest.raises(UsageError, match="none is called 'other'; images to measure on have"):
        run(cfg, path, other, folder)
    with pytest.raises(DataError, match="no image that can be read"):
        run(cfg, path, replace(val, samples=()), folder)
    assert not folder.exists()


def test_other_names_of_as_many_classes_are_told_once(tmp_path: Path) -> None:
    path = shapes.draw_detection_set(tmp_path / "data", 12)
    val = read(path, "val")
    other = replace(val, names=("other", *val.names[1:]))
    with pytest.warns(DarknetWarning) as caught:
        run(shapes.DETECTOR, path, other, tmp_path / "run")
    assert sum("'other' in" in str(each.message) for each in caught) == 1
