"""Polygons and runs of COCO's annotations, beside plain loops and pycocotools."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import lay

from darknet_torch.data import read
from darknet_torch.data.outlines import Outline, read_outline, read_runs
from darknet_torch.errors import DataError


def centres_inside(polygons: list[list[float]], width: int, height: int) -> np.ndarray:
    """Whether the centre of each pixel is inside any of the polygons: ray after ray."""
    mask = np.zeros((height, width), bool)
    for polygon in polygons:
        corners = list(zip(polygon[::2], polygon[1::2], strict=True))
        for row in range(height):
            for column in range(width):
                x, y, inside = column + 0.5, row + 0.5, False
                for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
                    if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                        inside = not inside
                mask[row, column] |= inside
    return mask


@pytest.mark.parametrize("seed", range(6))
def test_polygons(seed: int) -> None:
    rng = np.random.default_rng(seed)
    polygons = [
        [float(np.float32(v)) for v in rng.uniform(-6, 26, 2 * int(rng.integers(3, 9)))]
        for _ in range(int(rng.integers(1, 4)))
    ]
    outline = read_outline(polygons)
    assert outline is not None
    np.testing.assert_array_equal(outline.mask(20, 15), centres_inside(polygons, 20, 15))


def test_whole_pixels_of_a_rectangle() -> None:
    outline = read_outline([[2, 3, 7, 3, 7, 5, 2, 5]])
    assert outline is not None
    expected = np.zeros((8, 10), bool)
    expected[3:5, 2:7] = True
    np.testing.assert_array_equal(outline.mask(10, 8), expected)
    assert read_outline([]) is None


def test_runs_beside_pycocotools() -> None:
    coding = pytest.importorskip("pycocotools.mask", reason="the test extra has it")
    rng = np.random.default_rng(1)
    for share in (0.0, 0.02, 0.5, 1.0):
        mask = rng.random((37, 53)) < share
        code = coding.encode(np.asfortranarray(mask.astype(np.uint8)))
        outline = read_outline({"size": code["size"], "counts": code["counts"].decode()})
        assert outline is not None
        np.testing.assert_array_equal(outline.mask(53, 37), mask)
        counts = np.diff(np.flatnonzero(np.diff(np.r_[2, mask.T.ravel().astype(int), 2])))
        counts = [0, *counts.tolist()] if mask.T.ravel()[0] else counts.tolist()
        outline = read_outline({"size": [37, 53], "counts": counts})
        assert outline is not None
        np.testing.assert_array_equal(outline.mask(53, 37), mask)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (7, "polygons or runs expected"),
        ([[1, 2, 3, 4]], "three corners"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three corners"),
        ([["1", 2, 3, 4, 5, 6]], "words"),
        ([[float("nan"), 2, 3, 4, 5, 6]], "nan"),
        ([[1e7, 2, 3, 4, 5, 6]], "1e6 pixels"),
        ([[0, 1] * 70_000], "corners"),
        ({"size": [2, 3], "counts": [1, 2]}, "3 pixels for 3 x 2"),
        ({"size": [2, 3], "counts": [7, -1]}, "numbers of pixels"),
        ({"size": [2, True], "counts": [6]}, "height, width"),
        ({"size": [1 << 20, 1 << 20], "counts": [1 << 20] * 4}, "pixels for"),
        ({"size": [2, 3], "counts": None}, "numbers of pixels"),
        ({"size": [2, 3], "counts": "\x01"}, "no compressed runs"),
        ({"size": [2, 3], "counts": "o" * 20}, "no compressed runs"),
        ({"size": [2, 3], "counts": "P"}, "cut off"),
    ],
)
def test_bad_segmentations(segmentation: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_outline(segmentation)


def test_runs_of_another_size() -> None:
    with pytest.raises(DataError, match="3 x 2, not 2 x 3"):
        Outline(runs=np.array([6]), size=(3, 2)).mask(2, 3)


def coco(folder: Path, segmentations: list[Any]) -> Path:
    """A file with an image of 40 x 20 pixels."""
    rows = [
        {"id": n, "image_id": 1, "category_id": 1, "bbox": [1, 1 + n, 9, 9], "segmentation": each}
        for n, each in enumerate(segmentations)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 20}],
        "categories": [{"id": 1, "name": "bee"}],
        "annotations": rows,
    }
    lay(folder, {"marks.json": json.dumps(content), "a.png": ""})
    return folder / "marks.json"


def test_outlines_are_read_where_they_are_wanted(tmp_path: Path) -> None:
    runs = {"size": [20, 40], "counts": [100, 700]}
    wrong = {"size": [40, 20], "counts": [800]}
    path = coco(tmp_path, [[[1, 1, 9, 1, 9, 9]], runs, wrong, "?", []])
    assert not read(path).has_outlines
    dataset = read(path, masks=True)
    outlines = dataset.samples[0].ground_truth.outlines
    assert [each is not None for each in outlines] == [True, True, False, False, False]
    assert dataset.counts == {"bad outline": 2}
    assert "runs of 20 x 40 pixels, the image has 40 x 20" in str(dataset.problems[1])
    assert outlines[1].mask(40, 20).sum() == 700
    taken = dataset.samples[0].ground_truth[np.array([1, 3])]
    assert taken.outlines[0] is outlines[1] and taken.outlines[1] is None


def test_darknets_runs_go_along_the_rows() -> None:
    expected = np.zeros((3, 4), bool)
    expected[0, 3] = expected[1, :2] = True
    np.testing.assert_array_equal(read_runs("3,3", 4, 3).mask(4, 3), expected)
    # behind the last run comes the other kind
    expected[1:] = True
    np.testing.assert_array_equal(read_runs("3", 4, 3).mask(4, 3), expected)
    np.testing.assert_array_equal(read_runs("3,9", 4, 3).mask(4, 3), expected)
    assert read_runs("0", 4, 3).mask(4, 3).all()


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("3,-1", "whole numbers"),
        ("3,,1", "whole numbers"),
        ("3.5", "whole numbers"),
        ("٣", "whole numbers"),
        ("99999999999", "whole numbers"),
        ("6,7", "runs of 13 pixels, the image has 4 x 3"),
    ],
)
def test_bad_runs(runs: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_runs(runs, 4, 3)


def test_mask_files(tmp_path: Path) -> None:
    rows = "1 41,5,35,5\n0 800\n1 900,2\n2 1,2\n0 x\n0 .5 .5 .1 .1\n1 2 3\n"
    lay(tmp_path, {"images/a.png": "", "mask/a.txt": rows, "labels/a.txt": "0 .5 .5 .2 .2\n"})
    dataset = read(tmp_path / "images", masks=True, names=["ant", "bee"])
    truth = dataset.samples[0].ground_truth
    assert truth.class_id.tolist() == [1, 0]
    assert truth.xyxy[0].tolist() == [1, 1, 6, 3] and truth.area[0] == 10
    assert [each is not None for each in truth.outlines] == [True, False]
    assert truth.outlines[0].mask(40, 20)[1:3, 1:6].all()
    kinds = {"bad outline": 2, "class out of range": 1, "column count": 1, "zero area": 1}
    assert dataset.counts == kinds
    boxes = read(tmp_path / "images", names=["ant", "bee"])
    assert boxes.samples[0].ground_truth.class_id.tolist() == [0] and not boxes.problems
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text("val: images\nlabels: mask\nnames: [ant, bee]\n")
    assert read(elsewhere, masks=True).counts == kinds
