"""The anchors beside the data, and what is said of a data set before it is trained with."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import shapes

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.data import Dataset, GroundTruth, Problem, Sample, read
from darknet_torch.errors import CfgError, DarknetWarning, DataError, UsageError
from darknet_torch.training.checks import (
    anchor_hint,
    check_batch_norm,
    check_losses,
    problem_lines,
)
from darknet_torch.training.loop import train


def dataset(sides: list[int]) -> Dataset:
    boxes = [np.array([[0, 0, side, side]]) for side in sides]
    truths = [GroundTruth(xyxy=box, class_id=[0]) for box in boxes]
    samples = [Sample(Path(f"{i}.png"), 64, 64, truth, i) for i, truth in enumerate(truths)]
    return Dataset(("a",), tuple(samples), source="here")


def test_anchors_that_fit_get_no_hint() -> None:
    network = dt.build(shapes.DETECTOR)  # 32 x 32 with anchors of 8 and 16 pixels
    assert anchor_hint(dataset([16, 32]), network.plan) == (
        "anchors: mean IoU 1.00 with the boxes of here"
    )


def test_anchors_that_do_not_fit_get_one() -> None:
    hint = anchor_hint(dataset([50, 60]), dt.build(shapes.DETECTOR).plan)
    assert hint is not None
    assert hint.endswith("`darknet-torch anchors here --clusters 2 --width 32 --height 32`")


def test_the_command_of_the_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = read(shapes.draw_detection_set(tmp_path / "my data"), "train")
    equal = shapes.DETECTOR.replace("anchors=8,8, 16,16", "anchors=31,2, 31,2")
    command = (anchor_hint(data, dt.plan(equal)) or "").split("`")[1]
    assert "shapes.yaml' --clusters 2 --width 32" in command
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out.count(",") >= 3


@pytest.mark.parametrize("head", ["yolo", "region", "Gaussian_yolo"])
@pytest.mark.parametrize("line", ["", "anchors=\n"])
def test_heads_without_anchors_are_refused(head: str, line: str, tmp_path: Path) -> None:
    cfg = shapes.DETECTOR.replace("anchors=8,8, 16,16\n", line).replace("[yolo]", f"[{head}]")
    if head == "Gaussian_yolo":
        cfg = cfg.replace("filters=16\nsize=1", "filters=24\nsize=1")
    with pytest.warns(DarknetWarning, match=r"two for each of num anchors|no effect|unknown"):
        network = dt.build(cfg)  # to detect with, as Darknet does
    data = shapes.draw_detection_set(tmp_path / "data", images=2)
    with pytest.raises(CfgError, match=rf":\d+: \[{head}\]: anchors= is missing"):
        train(network, data, folder=tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()


def test_fewer_anchors_than_num_are_trained_with() -> None:
    with pytest.warns(DarknetWarning, match="Darknet takes 0.5"):
        plan = dt.plan(shapes.DETECTOR.replace("anchors=8,8, 16,16", "anchors=8,8"))
    check_losses(plan)


@pytest.mark.parametrize("name", ["yolov2-tiny-voc", "yolov3-tiny"])
def test_anchors_of_all_heads_are_in_pixels(name: str) -> None:
    plan = dt.plan(name)
    shape = plan[plan.heads[0]].input_shapes[0]
    sizes = plan.head_layers[0].anchor_sizes((shape.h, shape.w), (plan.input.h, plan.input.w))
    assert len(sizes) == {"yolov2-tiny-voc": 5, "yolov3-tiny": 6}[name]
    assert 8 < min(min(size) for size in sizes) < max(max(size) for size in sizes) <= 600


def test_a_network_without_anchors_has_no_hint() -> None:
    assert anchor_hint(dataset([5]), dt.plan("yolov1-tiny")) is None


def test_faults_are_counted(tmp_path: Path) -> None:
    data = read(shapes.draw_detection_set(tmp_path), "train")
    assert len(list(problem_lines(data))) == 1
    note = Problem("negative picture", "b.txt", "no objects")
    fault = Problem("zero area", "a.txt:1", "no area")
    broken = Dataset(data.names, data.samples, (note, fault))
    assert "1 faults (zero area 1)" in list(problem_lines(broken))[1]


@pytest.mark.parametrize("split", ["train", "val"])
def test_labels_beyond_the_names_are_refused(split: str, tmp_path: Path) -> None:
    """Labels that count from 1: the rows of the last class are left out, the others are shifted."""
    path = shapes.draw_detection_set(tmp_path / "data", images=24)
    for file in sorted((tmp_path / "data" / split).glob("*.txt")):
        rows = [line.split(maxsplit=1) for line in file.read_text().splitlines()]
        file.write_text("".join(f"{int(number) + 1} {box}\n" for number, box in rows))
    data = read(path, split)
    count = data.counts["class out of range"]
    message = rf"\d\.txt:\d: class 3; 0 to 2 expected \({count} rows?\): labels count from 0"
    with pytest.raises(DataError, match=message):
        train(dt.build(shapes.DETECTOR), path, folder=tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()


def test_options_without_effect_are_named() -> None:
    cfg = shapes.DETECTOR.replace("[net]", "[net]\nadversarial_lr=1", 1)
    cfg = cfg.replace("[convolutional]", "[convolutional]\ngrad_centr=1\nsway=1", 1)
    with pytest.warns(DarknetWarning, match="no effect") as said:
        check_losses(dt.plan(cfg))
    assert [str(each.message).partition("]: ")[2] for each in said] == [
        "adversarial_lr: no effect on training here",
        "sway, grad_centr: no effect on training here",
    ]


def test_batch_norm_of_one_value(tmp_path: Path) -> None:
    cfg = "[net]\nwidth=4\nheight=4\nchannels=3\n[convolutional]\nbatch_normalize=1\nsize=4\n"
    plan = dt.plan(f"{cfg}[softmax]\n")
    check_batch_norm(plan, 2)
    with pytest.raises(
        UsageError, match=r"5: .convolutional.: batch norm of one value of each channel"
    ):
        check_batch_norm(plan, 1)
    images = shapes.draw_class_folders(tmp_path / "colors", images=1)
    network = dt.build(f"{cfg}filters=3\n[softmax]\n")
    with pytest.raises(UsageError, match="batch norm of one value of each channel"):
        train(network, images, folder=tmp_path / "run", batch=1, max_batches=1, workers=0)
    assert not (tmp_path / "run").exists()
