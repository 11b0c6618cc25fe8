"""COCO's JSON, beside pycocotools; and every way in which an entry can be wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import boxes, lay, problems

from darknet_torch.data import convert, read
from darknet_torch.data.coco_classes import COCO_CATEGORY_IDS
from darknet_torch.errors import DataError
from darknet_torch.files import cfg_folder
from darknet_torch.parsing.parser import read_names

CATEGORIES = [{"id": 7, "name": "bee"}, {"id": 3, "name": "ant"}, {"id": 20, "name": "wasp"}]


def mark(image: int, category: int, bbox: list[float], **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "category_id": category, "bbox": bbox, **more}


def coco(folder: Path, annotations: list[Any], **more: Any) -> Path:
    """A file with two pictures, 11 and 5, of 40 x 20 pixels; `more` replaces its lists."""
    images = [
        {"id": number, "file_name": f"{name}.png", "width": 40, "height": 20}
        for number, name in ((11, "a"), (5, "b"))
    ]
    content = {"images": images, "categories": CATEGORIES, "annotations": annotations} | more
    names = {each["file_name"]: "" for each in images}
    lay(folder, {"annotations/instances_val.json": json.dumps(content)})
    lay(folder / "val", names)
    return folder / "annotations" / "instances_val.json"


def test_what_is_in_a_file(tmp_path: Path) -> None:
    path = coco(
        tmp_path, [mark(5, 3, [1, 2, 3.5, 4], area=9, iscrowd=1), mark(5, 20, [0, 0, 9, 9])]
    )
    dataset = read(path)
    assert dataset.names == ("ant", "bee", "wasp")
    assert dataset.category_ids == (3, 7, 20)
    assert [(each.path.name, each.image_id) for each in dataset.samples] == [
        ("a.png", 11),
        ("b.png", 5),
    ]
    assert boxes(dataset, 1) == [(0, [1, 2, 4.5, 6]), (2, [0, 0, 9, 9])]
    ground_truth = dataset.samples[1].ground_truth
    assert (ground_truth.area.tolist(), ground_truth.crowd.tolist()) == ([9, 81], [True, False])
    assert dataset.counts == {"negative picture": 1}


@pytest.mark.parametrize("images", ["", "val", "images", "images/val", "val/images", "data"])
def test_where_the_images_lie(images: str, tmp_path: Path) -> None:
    """Beside the annotations or around them; FiftyOne writes them to `data`."""
    coco(tmp_path, [mark(5, 3, [1, 2, 3, 4])])
    moved = tmp_path / "other"
    lay(moved, {"instances_val.json": (tmp_path / "annotations/instances_val.json").read_text()})
    lay(moved / images, {"a.png": "", "b.png": ""})
    dataset = read(moved / "instances_val.json")
    assert [each.path for each in dataset.samples] == [
        moved / images / "a.png",
        moved / images / "b.png",
    ]


def test_beside_pycocotools(tmp_path: Path) -> None:
    """The same boxes, classes, areas and crowds as the tool that everybody measures with."""
    theirs = pytest.importorskip("pycocotools.coco", reason="the test extra has it").COCO
    rng = np.random.default_rng(1)
    marks = []
    for number in range(1, 60):
        w, h = rng.uniform(1, 20), rng.uniform(1, 9)
        box = [rng.uniform(0, 40 - w), rng.uniform(0, 20 - h), w, h]
        image, category = (int(rng.choice(each)) for each in ((11, 5), (7, 3, 20)))
        crowd = int(rng.integers(2))
        marks.append(mark(image, category, box, area=w * h / 2, iscrowd=crowd) | {"id": number})
    path = coco(tmp_path, marks)
    dataset, tool = read(path), theirs(str(path))
    assert not dataset.problems
    for sample in dataset.samples:
        rows = tool.loadAnns(tool.getAnnIds(imgIds=[sample.image_id]))
        assert len(rows) == len(sample.ground_truth) > 10
        corners = np.array([row["bbox"] for row in rows])
        corners[:, 2:] += corners[:, :2]
        np.testing.assert_allclose(sample.ground_truth.xyxy, corners)
        ids = [dataset.category_ids[each] for each in sample.ground_truth.class_id]
        assert ids == [row["category_id"] for row in rows]
        assert sample.ground_truth.area.tolist() == [row["area"] for row in rows]
        assert sample.ground_truth.crowd.tolist() == [row["iscrowd"] for row in rows]
        name = tool.loadCats(ids[:1])[0]["name"]
        assert dataset.names[sample.ground_truth.class_id[0]] == name


def test_given_names_number_the_classes(tmp_path: Path) -> None:
    path = coco(tmp_path, [mark(11, 3, [1, 1, 2, 2]), mark(11, 20, [1, 1, 3, 3])])
    dataset = read(path, names=["wasp", "hornet", "bee", "ant"])
    assert [each for each, _ in boxes(dataset)] == [3, 0]
    assert dataset.category_ids == (20, -1, 7, 3)
    fewer = read(path, names=["ant"], format="coco")
    assert [each for each, _ in boxes(fewer)] == [0]
    assert fewer.counts == {"negative picture": 1, "unknown class": 1}


def test_names_of_darknet_are_those_of_coco(tmp_path: Path) -> None:
    """couch (63) is Darknet's sofa (57), and so on: 80 categories, 80 names, two spellings."""
    names = read_names(cfg_folder() / "coco.names")
    other = {"sofa": "couch", "motorbike": "motorcycle", "aeroplane": "airplane", "tvmonitor": "tv"}
    assert set(other) <= set(names)
    categories = [
        {"id": number, "name": other.get(name, name)}
        for number, name in zip(COCO_CATEGORY_IDS, names, strict=True)
    ]
    path = coco(tmp_path, [mark(11, 63, [1, 1, 2, 2])], categories=categories[::-1])
    dataset = read(path, names="coco.names")
    assert dataset.category_ids == COCO_CATEGORY_IDS
    assert [dataset.names[each] for each, _ in boxes(dataset)] == ["sofa"]
    assert dataset.counts == {"negative picture": 1, "other spelling": 4}
    assert "category 63, couch, is taken for sofa" in {each.what for each in dataset.problems}
    assert not dataset.faults
    strangers = read(path, names=[f"class {number}" for number in range(80)])
    assert strangers.counts == {"negative picture": 2, "unknown class": 1}


WRONG: dict[str, tuple[Any, str]] = {
    "category of none": (mark(11, 4, [1, 1, 2, 2]), "unknown class"),
    "picture of none": (mark(12, 3, [1, 1, 2, 2]), "malformed entry"),
    "no picture": ({"category_id": 3, "bbox": [1, 1, 2, 2]}, "malformed entry"),
    "a word for a number": (mark("11", 3, [1, 1, 2, 2]), "malformed entry"),  # type: ignore[arg-type]
    "a fraction": (mark(11.5, 3, [1, 1, 2, 2]), "malformed entry"),  # type: ignore[arg-type]
    "a truth": (mark(True, 3, [1, 1, 2, 2]), "malformed entry"),
    "no entry": (["x"], "malformed entry"),
    "three numbers": (mark(11, 3, [1, 1, 2]), "column count"),
    "no box": ({"image_id": 11, "category_id": 3}, "column count"),
    "a word in the box": (mark(11, 3, [1, 1, 2, "2"]), "not a number"),  # type: ignore[list-item]
    "nan": (mark(11, 3, [1, 1, 2, float("nan")]), "not a number"),
    "infinite": (mark(11, 3, [1, 1, 2, 1e999]), "not a number"),
    "a huge whole number": (mark(11, 3, [1, 1, 2, 10**400]), "not a number"),
    "far away": (mark(11, 3, [1, 1, 2, 1e200]), "not a number"),
    "area of nan": (mark(11, 3, [1, 1, 2, 2], area=float("nan")), "not a number"),
    "area below 0": (mark(11, 3, [1, 1, 2, 2], area=-1), "not a number"),
    "no width": (mark(11, 3, [1, 1, 0, 2]), "zero area"),
    "outside": (mark(11, 3, [1, 1, 40, 2]), "outside the picture"),
    "again": (mark(11, 3, [0, 0, 9, 9]), "duplicate row"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_annotation_is_reported_with_its_place(name: str, tmp_path: Path) -> None:
    entry, kind = WRONG[name]
    path = coco(tmp_path, [mark(11, 3, [0, 0, 9, 9]), mark(5, 3, [0, 0, 9, 9]), entry])
    dataset = read(path)
    assert problems(dataset, tmp_path) == [(kind, "annotations/instances_val.json: annotations[2]")]
    kept = kind in ("outside the picture", "duplicate row")
    assert len(dataset.samples[0].ground_truth) == 1 + kept


def test_wrong_pictures_and_categories(tmp_path: Path) -> None:
    images = [
        {"id": 11, "file_name": "a.png", "width": 41, "height": 20},
        {"id": 5, "file_name": "b.png"},
        {"id": 5, "file_name": "b.png", "width": 40, "height": 20},
        {"id": 6, "file_name": 7, "width": 40, "height": 20},
        {"id": 8, "file_name": "nowhere.png", "width": 40, "height": 20},
    ]
    categories = [*CATEGORIES, {"id": 3, "name": "again"}, {"id": "x", "name": "y"}, 5]
    marks = [mark(each, 3, [0, 0, 9, 9]) for each in (11, 5, 8)]
    path = coco(tmp_path, marks, images=images, categories=categories)
    places = [
        ("malformed entry", "categories[5]"),
        ("malformed entry", "categories[3]"),
        ("malformed entry", "categories[4]"),
        ("malformed entry", "images[1]"),
        ("malformed entry", "images[2]"),
        ("malformed entry", "images[3]"),
        ("size disagrees", "images[0]"),
        ("missing picture", "images[4]"),
    ]
    dataset = read(path)
    file = "annotations/instances_val.json: "
    assert problems(dataset, tmp_path) == [(kind, file + place) for kind, place in places]
    assert [(each.width, each.height) for each in dataset.samples] == [(40, 20), (40, 20)]


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "null", '{"images": 5}', '{"images": [], "annotations": []}'),
        *("[" * 100_000, '{"a":' * 100_000, '{"images": [' + "9" * 5000 + "]}"),
        *('{"images": [], "categories": {}, "annotations": []}', "\ufeff{", '{"images": [}'),
    ],
    ids=range(12),
)
def test_files_that_are_no_annotations(content: str, tmp_path: Path) -> None:
    path = lay(tmp_path, {"a.json": content}) / "a.json"
    with pytest.raises(DataError, match=r"a\.json: ") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = coco(tmp_path, [])
    monkeypatch.setattr("darknet_torch.data.coco.MAX_JSON", 200)
    with pytest.raises(DataError, match="larger than 0 kB, too large for an annotation file"):
        read(path)


def test_numbers_of_the_categories_come_back(tmp_path: Path) -> None:
    path = coco(tmp_path, [mark(11, 20, [1, 2, 3, 4], area=5, iscrowd=1)])
    again = tmp_path / "again"
    convert(read(path), again, format="coco")
    content = json.loads((again / "annotations/instances_val.json").read_text())
    assert {each["id"]: each["name"] for each in content["categories"]} == {
        each["id"]: each["name"] for each in CATEGORIES
    }
    assert [each["id"] for each in content["images"]] == [11, 5]
    assert content["annotations"] == [
        mark(11, 20, [1, 2, 3, 4], area=5, iscrowd=1),
    ]
    dataset = read(again / "data.yaml")
    assert dataset.category_ids == (3, 7, 20)
