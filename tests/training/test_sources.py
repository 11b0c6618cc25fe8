"""Which images are trained with and measured on, and the numbers of their classes."""

from pathlib import Path

import pytest
import shapes

from darknet_torch.cli import main
from darknet_torch.data import Dataset, GroundTruth, Sample
from darknet_torch.errors import DataError, UsageError
from darknet_torch.training.options import TrainOptions
from darknet_torch.training.sources import read_all

COLOURS = ("red", "green", "blue")


def classes(names: tuple[str, ...], *labels: int) -> Dataset:
    """Images of which only the class is known."""
    samples = [Sample(Path(f"{n}.png"), 9, 9, GroundTruth.empty(), 1, n) for n in labels]
    return Dataset(names, tuple(samples), source="joint")


def labels_of(names: tuple[str, ...], joint: Dataset) -> list[int | None]:
    first = Dataset(names, (), source="first")
    others = read_all(first, None, joint, TrainOptions())[2]
    assert others is not None
    return [sample.label for sample in others.samples]


def test_joint_classes_are_matched_by_name() -> None:
    things = ("thing", *COLOURS)
    assert labels_of(things, classes(COLOURS, 0, 2)) == [1, 3]
    assert labels_of(COLOURS, classes(things, 1, 3)) == [0, 2]  # no image of a thing
    with pytest.raises(UsageError, match=r"joint: thing: no class of first; .* by name"):
        labels_of(COLOURS, classes(things, 0, 1))


def test_joint_classes_without_names_keep_their_numbers() -> None:
    assert labels_of(("thing", *COLOURS), classes(("0", "1", "2"), 0, 2)) == [0, 2]
    assert labels_of(("0", "1", "2"), classes(COLOURS, 0, 2)) == [0, 2]


def test_joint_classes_of_a_class_map_are_those_of_the_network() -> None:
    """YOLO9000: the boxes have the names of COCO's classes, the others those of the word tree."""
    first, joint = Dataset(("thing",), (), source="first"), classes(COLOURS, 0, 2)
    others = read_all(first, None, joint, TrainOptions(), mapped=True)[2]
    assert others is joint


def test_a_validation_split_that_is_named_must_be_there(tmp_path: Path) -> None:
    path = shapes.draw_detection_set(tmp_path / "data", images=2)
    for source in (path, tmp_path / "data"):
        with pytest.raises(DataError, match="no split vla; it has train, val"):
            read_all(source, None, None, TrainOptions(val_split="vla"))
    with pytest.raises(DataError, match=r"split vla \(--val-split\): has all images"):
        read_all(tmp_path / "data" / "train", None, None, TrainOptions(val_split="vla"))
    (tmp_path / "data" / "val").rename(tmp_path / "data" / "test")
    assert read_all(tmp_path / "data", None, None, TrainOptions())[1] is None
    (tmp_path / "data" / "test").rename(tmp_path / "data" / "val")
    path.write_text(path.read_text().replace("val: val", "more: val"))
    _, validation, _ = read_all(path, None, None, TrainOptions(val_split="more"))
    assert validation is not None
    assert len(validation) == 1
    assert read_all(path, None, None, TrainOptions())[1] is None  # no `val`: nothing is measured


def test_the_command_with_a_split_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shapes.draw_detection_set(tmp_path / "data", images=2)
    (tmp_path / "net.cfg").write_text(shapes.DETECTOR)
    words = ["train", str(tmp_path / "net.cfg"), str(path), "--scratch", "--val-split", "vla"]
    assert main([*words, "--folder", str(tmp_path / "run")]) == 2
    assert "no split vla; it has train, val" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
