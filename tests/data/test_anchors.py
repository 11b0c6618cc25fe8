"""Anchors: against Darknet's own runs, a plain loop, and all that could be chosen."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keys import SHARED

import darknet_torch.data
from darknet_torch.cli import main
from darknet_torch.data import Dataset, GroundTruth, Sample
from darknet_torch.data.anchors import best_iou, box_sizes, cfg_lines, cluster, find_anchors
from darknet_torch.errors import DarknetWarning, DataError, UsageError

TRAIN = SHARED / "oracle" / "train"
needs_keys = pytest.mark.skipif(not TRAIN.is_dir(), reason=f"{TRAIN}: not there")
RUNS = [3, 5, 6]


def naive_iou(box, anchor) -> float:
    inside = min(box[0], anchor[0]) * min(box[1], anchor[1])
    return inside / (box[0] * box[1] + anchor[0] * anchor[1] - inside)


def naive_mean(boxes, anchors) -> float:
    return sum(max(naive_iou(b, a) for a in anchors) for b in boxes) / len(boxes)


def key(clusters: int):
    """The boxes of a key, in its unit, and Darknet's runs: mean IoU in percent, anchors (k, 2)."""
    truths = json.loads((TRAIN / "map_eval.json").read_text())["truths"]
    content = json.loads((TRAIN / f"calc_anchors_{clusters}.json").read_text())
    shapes = [each["box_rel_cxcywh"][2:] for rows in truths.values() for each in rows]
    runs = [
        (percent, np.array([float(v) for v in text.split(",")]).reshape(-1, 2))
        for percent, text in content["runs"]
    ]
    return np.array(shapes) * content["width_height"], content["width_height"], runs


def unit_of(clusters: int) -> float:
    return 1e-4 if clusters == 5 else 1.0


def dataset(boxes, width=100, height=50, **marks) -> Dataset:
    """One image with boxes of these sizes (N, 2) in pixels."""
    boxes = np.asarray(boxes, float).reshape(-1, 2)
    xyxy = np.concatenate([np.ones_like(boxes), 1 + boxes], axis=1)
    truth = GroundTruth(xyxy=xyxy, class_id=np.zeros(len(boxes), int), **marks)
    return Dataset(("thing",), (Sample(Path("a.jpg"), width, height, truth, 1),), source="my.yaml")


# ---- Darknet's runs


@needs_keys
@pytest.mark.parametrize("clusters", RUNS)
def test_the_mean_iou_is_what_darknet_prints(clusters) -> None:
    """Its anchors are the means of their boxes, and are printed rounded: take the means again."""
    boxes, _, runs = key(clusters)
    for percent, printed in runs:
        _, number = best_iou(boxes, printed)
        means = np.array([boxes[number == j].mean(axis=0) for j in range(clusters)])
        assert np.abs(means - printed).max() <= unit_of(clusters) / 2 * 1.001
        assert 100 * best_iou(boxes, means)[0].mean() == pytest.approx(percent, abs=0.00501)
        assert np.all(np.diff(printed.prod(axis=1)) > 0)  # sorted by area


@needs_keys
@pytest.mark.parametrize("clusters", RUNS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_better_than_the_best_run_of_darknet(clusters, seed) -> None:
    boxes, (width, height), runs = key(clusters)
    anchors = cluster(boxes, clusters, seed=seed, unit=unit_of(clusters))
    assert 100 * naive_mean(boxes, anchors.sizes) > max(percent for percent, _ in runs) + 1
    assert anchors.mean_iou == pytest.approx(naive_mean(boxes, anchors.sizes))
    assert np.all(np.diff(anchors.sizes.prod(axis=1)) >= 0)
    # the same from a data set, whose pictures are of another size
    head, cell = ("region", 32) if clusters == 5 else ("yolo", 1)
    photos = dataset(boxes / [width, height] * [100, 50])
    again = find_anchors(photos, clusters, width * cell, height * cell, head=head, seed=seed)
    assert again.mean_iou == pytest.approx(anchors.mean_iou, abs=0.002)


# ---- plain computations

side = st.integers(1, 40)
shapes = st.lists(st.tuples(side, side), min_size=3, max_size=12)


@given(shapes, st.lists(st.tuples(side, side), min_size=1, max_size=4))
def test_iou_is_that_of_a_plain_loop(boxes, anchors) -> None:
    iou, number = best_iou(np.array(boxes, float), np.array(anchors, float))
    for box, value, j in zip(boxes, iou, number, strict=True):
        each = [naive_iou(box, anchor) for anchor in anchors]
        assert value == pytest.approx(max(each))
        assert j == int(np.argmax(each)) or each[j] == pytest.approx(max(each))


def test_iou_of_more_boxes_than_are_computed_at_once(monkeypatch) -> None:
    boxes = np.random.default_rng(3).uniform(1, 9, (50, 2))
    monkeypatch.setattr("darknet_torch.data.anchors._CHUNK", 7)
    assert best_iou(boxes, boxes[:4])[0].mean() == pytest.approx(naive_mean(boxes, boxes[:4]))


@given(shapes, st.randoms(use_true_random=False))
def test_the_order_of_the_boxes_does_not_matter(boxes, random) -> None:
    k = min(2, len(set(boxes)))
    first = cluster(boxes, k, restarts=3, seed=5)
    random.shuffle(boxes)
    again = cluster(boxes, k, restarts=3, seed=5)
    assert first.sizes.tolist() == again.sizes.tolist()
    assert (first.mean_iou, first.counts.tolist()) == (again.mean_iou, again.counts.tolist())


@settings(max_examples=30)
@given(shapes)
def test_what_is_returned_fits_together(boxes) -> None:
    k = min(3, len(set(boxes)))
    anchors = cluster(boxes, k, restarts=3)
    assert anchors.mean_iou == pytest.approx(naive_mean(boxes, anchors.sizes))
    assert anchors.counts.sum() == len(boxes)
    means = [cluster(boxes, n, restarts=20).mean_iou for n in range(1, k + 1)]
    assert means == sorted(means)  # more anchors fit better
    if k == len(set(boxes)):
        assert anchors.mean_iou == pytest.approx(1)


@settings(max_examples=20, derandomize=True)
@given(shapes)
def test_no_choice_among_the_boxes_is_better(boxes) -> None:
    """But for what is less than the smallest step, a five-hundredth of a side.

    The examples are fixed: k-means++ with steps is a search, and there are lists of boxes in which
    it ends .004 below the best.
    """
    k = min(2, len(set(boxes)))
    best = max(naive_mean(boxes, chosen) for chosen in itertools.combinations(set(boxes), k))
    assert cluster(boxes, k).mean_iou >= best - 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_no_pair_of_whole_numbers_is_better(seed) -> None:
    """Every pair of anchors whose sides are 1 to 9 is tried."""
    boxes = np.random.default_rng(seed).integers(1, 10, (9, 2))
    grid = np.array(list(itertools.product(range(1, 10), repeat=2)), float)
    iou = np.array([[naive_iou(box, anchor) for anchor in grid] for box in boxes])
    best = max(
        np.maximum(iou[:, i], iou[:, j]).mean()
        for i, j in itertools.combinations(range(len(grid)), 2)
    )
    anchors = cluster(boxes, 2, unit=1)
    assert np.array_equal(anchors.sizes, np.round(anchors.sizes))
    assert anchors.mean_iou == pytest.approx(best)


@pytest.mark.parametrize("k", [1, 4])
def test_groups_that_are_there_are_found(k) -> None:
    centres = np.array([(20, 20), (50, 120), (150, 60), (300, 300)], float)[:k]
    random = np.random.default_rng(0)
    boxes = np.concatenate([c * random.uniform(0.97, 1.03, (40, 2)) for c in centres])
    anchors = cluster(boxes, k)
    assert anchors.counts.tolist() == [40] * k
    assert np.abs(anchors.sizes / centres - 1).max() < 0.03


def test_many_boxes_count_all_of_them() -> None:
    random = np.random.default_rng(0)
    centres = np.array([(20, 20), (50, 120), (150, 60)], float)
    boxes = centres[random.integers(0, 3, 70_000)] * random.uniform(0.9, 1.1, (70_000, 2))
    anchors = cluster(boxes, 3, restarts=3)
    assert anchors.counts.sum() == len(boxes)
    assert np.abs(anchors.sizes / centres - 1).max() < 0.02
    assert anchors.mean_iou == pytest.approx(naive_mean(boxes[:5000], anchors.sizes), abs=0.003)
    assert anchors.sizes.tolist() == cluster(boxes, 3, restarts=3).sizes.tolist()


# ---- data sets


def test_sizes_are_those_in_the_input() -> None:
    photos = dataset([(50, 25), (10, 10)], width=100, height=50)
    assert box_sizes(photos, 200, 200).tolist() == [[100, 100], [20, 40]]
    assert box_sizes(photos, 200, 200, letterbox=True).tolist() == [[100, 50], [20, 20]]


def test_what_is_difficult_or_a_crowd_is_left_out() -> None:
    photos = dataset([(1, 2), (3, 4), (5, 6)], difficult=[1, 0, 0], crowd=[0, 0, 1])
    assert box_sizes(photos, 100, 50).tolist() == [[3, 4]]


def test_boxes_without_a_size_are_left_out_with_a_warning() -> None:
    with pytest.warns(DarknetWarning, match=r"my\.yaml: 1 boxes without a size are left out"):
        assert box_sizes(dataset([(1, 2), (0, 4)]), 100, 50).tolist() == [[1, 2]]
    with pytest.warns(DarknetWarning, match="2 boxes without a size"):
        assert not len(box_sizes(dataset([(1, 2), (3, 4)], width=0, height=0), 100, 50))


def test_anchors_are_at_least_one_pixel() -> None:
    assert find_anchors(dataset([(0.1, 0.2)] * 2), 1, 100, 50).sizes.tolist() == [[1, 1]]


# ---- cfg lines


def lines(k: int, *arguments):
    return cfg_lines(cluster([(n, n) for n in range(1, k + 1)], k, restarts=1), *arguments)


def test_cfg_lines() -> None:
    anchors = ", ".join(f"{n},{n}" for n in range(1, 10))
    three = ["# stride 32", "mask=6,7,8", "# stride 16", "mask=3,4,5", "# stride 8", "mask=0,1,2"]
    assert lines(9) == [f"anchors={anchors}", "num=9", *three]
    assert lines(6)[2:] == ["# stride 32", "mask=3,4,5", "# stride 16", "mask=0,1,2"]
    assert lines(5)[2:] == ["# stride 32", "mask=0,1,2,3,4"]
    assert lines(4, "yolo", 4)[2:4] == ["# stride 64", "mask=3"]
    assert lines(2, "region") == ["anchors=1.0000,1.0000, 2.0000,2.0000", "num=2"]
    with pytest.raises(UsageError, match="9 anchors cannot be shared by 2 heads equally"):
        lines(9, "yolo", 2)


# ---- errors


@pytest.mark.parametrize(
    ("boxes", "k", "message"),
    [
        ([(1, 2)], 0, "0 anchors: at least 1"),
        ([], 1, "no boxes to take anchors from"),
        ([(1, 2), (1, 2)], 2, "2 anchors from 1 different sizes of boxes: too many"),
        ([(1, 2), (3, 0)], 1, "box 1: 3 x 0 is no size; positive ones are"),
        ([(1, 2), (-3, -1)], 1, "box 1: -3 x -1 is no size; positive ones are"),
        ([(float("nan"), 2)], 1, "box 0: nan x 2 is no size; positive ones are"),
        ([(1e-200, 1e-200)], 1, "box 0: 1e-200 x 1e-200 is no size; positive ones are"),
    ],
)
def test_what_cannot_be_clustered_raises(boxes, k, message) -> None:
    with pytest.raises((UsageError, DataError)) as error:
        cluster(boxes, k)
    assert str(error.value) == message


def test_wrong_arguments_raise() -> None:
    with pytest.raises(UsageError, match="0 restarts: at least 1"):
        cluster([(1, 2)], 1, restarts=0)
    with pytest.raises(UsageError, match="an input of 0 x 416 pixels: each must be at least 1"):
        find_anchors(dataset([(1, 2)]), 1, 0, 416)
    with pytest.raises(DataError, match=r"my\.yaml: no box in 1 images to take anchors from"):
        find_anchors(dataset([]), 1, 416, 416)


# ---- the command


@pytest.fixture
def read_calls(monkeypatch):
    """Four boxes of two sizes as the data set; the arguments of `read` are kept."""
    calls: list = []

    def read(source, split="val", **options):
        calls.append((source, split, options))
        return dataset([(50, 25), (50, 25), (10, 10), (10, 10)])

    monkeypatch.setattr(darknet_torch.data, "read", read, raising=False)
    return calls


def test_the_command_prints_a_cfg(read_calls, capsys) -> None:
    arguments = "anchors my.yaml --clusters 2 --width 200 --height 200 --heads 1 --split val"
    assert main(arguments.split()) == 0
    assert capsys.readouterr().out.splitlines() == [
        "# 4 boxes, mean IoU 100.00%",
        "# boxes of each anchor: 2, 2",
        "anchors=20,40, 100,100",
        "num=2",
        "# stride 32",
        "mask=0,1",
    ]
    assert read_calls == [("my.yaml", "val", {})]


def test_the_command_prints_json_and_region_anchors(read_calls, capsys) -> None:
    arguments = "anchors my.yaml --clusters 2 --width 320 --height 320 --for region --json"
    assert main([*arguments.split(), "--letterbox"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "anchors": [[1, 1], [5, 2.5]],
        "mean_iou": 1,
        "counts": [2, 2],
        "cfg": ["anchors=1.0000,1.0000, 5.0000,2.5000", "num=2"],
    }
    assert read_calls == [("my.yaml", "train", {})]


def test_the_command_reports_errors(read_calls, capsys) -> None:
    assert main("anchors my.yaml --clusters 3 --width 416 --height 416".split()) == 2
    error = capsys.readouterr().err
    assert error == "darknet-torch: 3 anchors from 2 different sizes of boxes: too many\n"
