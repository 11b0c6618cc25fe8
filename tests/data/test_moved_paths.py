"""Descriptions as other programs write them: paths from elsewhere, wrong counts, guesses."""

import json
import warnings
from pathlib import Path

import pytest
from datasets import boxes, lay, problems, voc

from darknet_torch.data import Dataset, read
from darknet_torch.data.moved_paths import MovedPaths, shortened
from darknet_torch.errors import DarknetWarning, DataError
from darknet_torch.files import any_case

ROW = "0 .5 .5 .5 .5\n"
BOX = [(0, [10, 5, 30, 15])]


def quietly(source: Path, split: str = "val") -> tuple[Dataset, list[str]]:
    """The data set, and the warnings of reading it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = read(source, split)
    return dataset, [str(each.message).replace(f"{source.parent}/", "") for each in caught]


@pytest.mark.parametrize(
    "name, expected",
    [
        (r"C:\data\a.jpg", ["C:/data/a.jpg", "data/a.jpg", "a.jpg"]),
        ("/home/me/a.jpg", ["/home/me/a.jpg", "home/me/a.jpg", "me/a.jpg", "a.jpg"]),
        ("../valid/images", ["../valid/images", "valid/images", "images"]),
        ("val.txt # mine", ["val.txt # mine", "val.txt "][1:]),
        ("..", []),
        ("", []),
    ],
)
def test_shortened(name: str, expected: list[str]) -> None:
    assert list(shortened(name)) == expected


def test_any_case() -> None:
    assert any_case("**/*.jpg") == "**/*.[jJ][pP][gG]"
    assert [any_case(each) for each in ("*.txt", "*", "a.")] == ["*.txt", "*", "a."]


def test_a_long_list_of_what_is_nowhere_takes_linear_time() -> None:
    tried = []
    moved = MovedPaths("x", [Path("a"), Path("b")], lambda path: bool(tried.append(path)))
    for number in range(1000):
        assert moved.find(f"/one/two/three/{number}.jpg") is None
    assert len(tried) == 50 * 2 * 5


@pytest.mark.parametrize(
    "yaml",
    [
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n",
        "train: ../train/images\nval: ../valid/images/*.jpg\n",
        "path: /content/parts-3\ntrain: train/images\nval: valid/images\n",
        "path: ../datasets/parts\nval: valid/images\n",
        "val: valid\\images\n",
    ],
)
def test_roboflow_and_ultralytics(yaml: str, tmp_path: Path) -> None:
    """The folder is found under its own name too, as is the description in it."""
    extra = "\nroboflow:\n  workspace: someone\n  version: 3\nkpt_shape: [17, 3]\n"
    for split in ("train", "valid", "test"):
        lay(tmp_path / "parts" / split, {"images/x.jpg": "", "labels/x.txt": ROW})
    lay(tmp_path / "parts", {"data.yaml": f"{yaml}nc: 2\nnames: ['bolt', 'nut']{extra}"})
    for source, split in (("data.yaml", "val"), ("data.yaml", "valid"), (".", "val")):
        dataset, said = quietly(tmp_path / "parts" / source, split)
        assert dataset.names == ("bolt", "nut")
        assert [each.path.parent.parent.name for each in dataset.samples] == ["valid"]
        assert boxes(dataset) == BOX
        assert not dataset.problems
        assert dataset.guesses == ("the labels are Darknet's text files",)
        assert len(said) == ("\\" not in yaml), said


def test_cvat_writes_a_folder_that_is_not_in_the_archive(tmp_path: Path) -> None:
    lay(tmp_path, {"obj.data": "classes = 2\nvalid = data/train.txt\nnames = data/obj.names\n"})
    lay(
        tmp_path,
        {"obj.names": "ant\nbee\n", "obj_train_data/a.png": "", "obj_train_data/b.png": ""},
    )
    lay(tmp_path, {"train.txt": "data/obj_train_data/a.png\ndata/obj_train_data/b.png\n"})
    lay(tmp_path, {"obj_train_data/a.txt": ROW, "obj_train_data/b.txt": ROW})
    dataset, said = quietly(tmp_path / "obj.data")
    assert len(dataset) == 2 and not dataset.problems and not dataset.guesses
    assert boxes(dataset) == BOX
    assert len(said) == 3
    assert "train.txt: data/obj_train_data/a.png: not there; " in said[2]
    assert said[2].endswith("obj_train_data/a.png is taken, and so for 1 others")
    assert len(read(tmp_path).samples) == 2


def test_the_folder_of_the_description_comes_before_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, {"own/val.txt": "a.png", "own/a.png": "", "here/val.txt": "b.png"})
    lay(tmp_path, {"own/obj.data": "valid = /gone/val.txt\nclasses = 1\n", "here/b.png": ""})
    monkeypatch.chdir(tmp_path / "here")
    assert [each.path.name for each in read("../own/obj.data").samples] == ["a.png"]
    monkeypatch.chdir(tmp_path / "own")
    assert [each.path.name for each in read("obj.data").samples] == ["a.png"]


def test_a_list_of_windows(tmp_path: Path) -> None:
    lay(tmp_path, {"img/a.png": "", "img/a.txt": ROW, "img/B.JPG": b"", "img/b.txt": ""})
    lay(tmp_path, {"list.txt": "img\\a.png\r\nC:\\Users\\me\\img\\a.png\r\n".encode("utf-16")})
    dataset, said = quietly(tmp_path / "list.txt")
    assert [each.path for each in dataset.samples] == [tmp_path / "img/a.png"] * 2
    assert len(said) == 1 and "C:\\Users\\me\\img\\a.png: not there" in said[0]


def test_endings_in_capitals(tmp_path: Path) -> None:
    lay(tmp_path, {"in/a.jpg": "", "in/b.png": ""})
    (tmp_path / "in/a.jpg").rename(tmp_path / "in/A.JPG")
    assert [each.path.name for each in read(tmp_path / "**/*.jpg").samples] == ["A.JPG"]
    with pytest.raises(DataError, match=r"no images in this folder; .*: (.*)") as caught:
        read(tmp_path / "in/..", format="darknet")
    hint = str(caught.value).rpartition(": ")[2]
    assert len(read(hint)) == 2


@pytest.mark.parametrize("classes", ["1", "2#bolt,nut", "3", "two"])
def test_names_count_and_not_their_number(classes: str, tmp_path: Path) -> None:
    lay(
        tmp_path,
        {"a.png": "", "a.txt": "0 .5 .5 .5 .5\n1 .5 .5 .4 .4\n", "my.names": "bolt\nnut\n"},
    )
    lay(tmp_path, {"my.data": f"classes = {classes}\nvalid = a.png\nnames = my.names\n"})
    dataset, said = quietly(tmp_path / "my.data")
    assert dataset.names == ("bolt", "nut") and not dataset.problems
    number = {"two": 0}.get(classes) or int(classes[0]) if classes != "two" else 0
    wrong = [f"my.data: classes: {number} classes, but 2 names: the names count"]
    assert said == ([] if classes[0] == "2" else wrong)
    lay(tmp_path, {"my.yaml": "val: a.png\nnames: [bolt, nut]\nnc: 5\n"})
    assert quietly(tmp_path / "my.yaml")[1] == [
        "my.yaml: nc: 5 classes, but 2 names: the names count"
    ]


def test_misspelt_keys_of_a_yaml(tmp_path: Path) -> None:
    lay(tmp_path, {"a.png": "", "a.txt": ROW})
    lay(tmp_path, {"my.yaml": "val: a.png\nnmaes: [bolt]\nauthor: me\n5: x\nname: y\n"})
    said = quietly(tmp_path / "my.yaml")[1]
    assert [each.partition(": unknown")[0] for each in said] == ["my.yaml: nmaes", "my.yaml: name"]
    assert said[0].endswith("did you mean names?")


@pytest.mark.parametrize("place", ["labels/classes.txt", "images/classes.txt", "_darknet.labels"])
def test_names_beside_the_labels(place: str, tmp_path: Path) -> None:
    lay(tmp_path, {"images/a.png": "", "labels/a.txt": ROW, place: "ant\nbee\n"})
    dataset = read(tmp_path / "images")
    assert dataset.names == ("ant", "bee")
    assert dataset.guesses[1] == f"the class names are those of {tmp_path / place}"
    assert read(tmp_path / "images", names=["wasp"]).names == ("wasp",)


def test_a_guess_without_any_box_is_a_warning(tmp_path: Path) -> None:
    lay(tmp_path, {f"{number:03}.png": "" for number in range(150)})
    with pytest.warns(
        DarknetWarning, match="no box in 150 images; it is a guess that the labels are Dark"
    ):
        assert len(read(tmp_path)) == 150
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read(tmp_path, needs_labels=False)) == 150
    lay(tmp_path, {"149.xml": voc(("dog", "", 11, 6, 30, 15)), "120.xml": voc()})
    dataset, said = quietly(tmp_path)
    assert dataset.guesses == ("the labels are VOC's XML files",) and not said
    assert boxes(dataset, 149) == [(11, [10, 5, 30, 15])]


def test_a_folder_for_each_class_is_a_guess(tmp_path: Path) -> None:
    lay(tmp_path, {"ant/a.png": "", "bee/b.png": ""})
    dataset, said = quietly(tmp_path)
    assert dataset.guesses == ("each folder of images is a class",) and not said
    assert not read(tmp_path, format="folders").guesses


def coco(categories: list[dict[str, object]], file_name: str = "a.png") -> str:
    row = {"id": 1, "file_name": file_name, "width": 40, "height": 20}
    box = {"image_id": 1, "category_id": 2, "bbox": [10, 5, 20, 10]}
    return json.dumps({"images": [row], "categories": categories, "annotations": [box]})


HEADING = {"id": 0, "name": "parts", "supercategory": "none"}
BOLT = {"id": 1, "name": "bolt", "supercategory": "parts"}
NUT = {"id": 2, "name": "nut", "supercategory": "parts"}
PERSON = {"id": 3, "name": "person", "supercategory": "person"}


def test_a_heading_is_no_class(tmp_path: Path) -> None:
    """Roboflow lists the name of the data set as category 0."""
    lay(tmp_path, {"a.png": "", "_annotations.coco.json": coco([HEADING, BOLT, NUT, PERSON])})
    dataset = read(tmp_path)
    assert dataset.names == ("bolt", "nut", "person")
    assert boxes(dataset) == [(1, [10, 5, 30, 15])]
    assert problems(dataset, tmp_path) == [("heading", "_annotations.coco.json: categories[0]")]
    assert not dataset.faults
    assert dataset.guesses == ("the labels are COCO's, in _annotations.coco.json",)
    assert dataset.category_ids == (1, 2, 3)
    one = {"id": 0, "name": "nut", "supercategory": "none"}
    lay(tmp_path, {"one.json": coco([one, {**NUT, "supercategory": "nut"}])})
    assert read(tmp_path / "one.json").names == ("nut",)
    lay(tmp_path, {"odd.json": coco([{**HEADING, "id": [1], "supercategory": 5}, NUT])})
    assert read(tmp_path / "odd.json").names == ("nut",)


@pytest.mark.parametrize("name", ["img\\a.png", "/data/upload/img/a.png", "gone/img/a.png"])
def test_images_of_a_coco_file_from_elsewhere(name: str, tmp_path: Path) -> None:
    lay(tmp_path, {"img/a.png": "", "result.json": coco([NUT], name)})
    dataset, said = quietly(tmp_path / "result.json")
    assert [each.path for each in dataset.samples] == [tmp_path / "img/a.png"]
    assert len(said) == ("\\" not in name)
