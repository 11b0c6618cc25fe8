"""What a source means: YAML, .data, lists, globs, folders, classes of whole images."""

import datetime
import os
import re
from pathlib import Path

import pytest
from datasets import boxes, lay, problems, voc

from darknet_torch.data import Dataset, read
from darknet_torch.data.description import describe
from darknet_torch.data.safe_yaml import load_yaml
from darknet_torch.errors import CfgError, DataError
from darknet_torch.files import cfg_folder

ROW = "0 .5 .5 .5 .5\n"


def stems(dataset: Dataset) -> str:
    return "".join(sample.path.stem for sample in dataset.samples)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """photos/images/{a,b,c}.png with labels, and lists of them in several manners."""
    files = {f"photos/images/{name}.png": "" for name in "abc"}
    labels = {f"photos/labels/{name}.txt": ROW for name in "abc"}
    lay(tmp_path, files | labels)
    lay(tmp_path, {"photos/list.txt": "images/c.png\nimages/a.png\n", "my.names": "ant\nbee\n\n"})
    return tmp_path


@pytest.mark.parametrize(
    "text, expected",
    [
        ("val: photos/images", "abc"),
        ("root: photos\nval: images", "abc"),
        ("path: photos\nval: list.txt", "ca"),
        ("path: photos\nvalid: [list.txt, images/b.png]", "cab"),
        ("val: photos/images/[ab].png", "ab"),
        ("val: photos/**/c.png", "c"),
        ("val: photos/images/b.png", "b"),
        ("root: photos\nval: images\nlabels: labels", "abc"),
        ("root: photos\nval: images\nlabels: {train: nowhere, val: labels}", "abc"),
        ("train: nowhere\nval: photos/images\ndownload: import os", "abc"),
    ],
)
def test_parts_of_a_yaml(text: str, expected: str, photos: Path) -> None:
    lay(photos, {"my.yaml": text})
    dataset = read(photos / "my.yaml")
    assert stems(dataset) == expected
    assert not dataset.problems
    assert boxes(dataset) == [(0, [10, 5, 30, 15])]


@pytest.mark.parametrize(
    "text, names",
    [
        ("names: [ant, bee]", ("ant", "bee")),
        ("names: {1: bee, 0: ant}", ("ant", "bee")),
        ("names: my.names", ("ant", "bee")),
        ("names: [747, no]", ("747", "False")),
        ("nc: 3", ("0", "1", "2")),
        ("names: [ant]\nnc: 1", ("ant",)),
        ("", ("0",)),
    ],
)
def test_names_of_a_yaml(text: str, names: tuple[str, ...], photos: Path) -> None:
    lay(photos, {"my.yaml": f"val: photos/images\n{text}"})
    assert read(photos / "my.yaml").names == names


@pytest.mark.parametrize(
    "text, message",
    [
        ("vall: photos", "my.yaml: no split val; it has none"),
        ("train: photos", "my.yaml: no split val; it has train"),
        ("val: []", "val: an empty list"),
        ("val: 5", "val: 5: a path expected"),
        ('val: "a\\nb"', r"a\nb: a path expected"),
        ("val: [photos/images, [x]]", "val: a list: a path expected"),
        ("val: nowhere", "nowhere: no such file or folder; looked for "),
        ("val: nowhere/*.png", "nowhere/*.png: no image matches"),
        ("val: photos/labels", "no images in this folder"),
        ("val: gone.txt\nroot: nowhere", "root: nowhere: no such file or folder"),
        ("val: photos\nroot: my.names", "root: my.names: a folder expected"),
        ("val: photos\nformat: vod", "format: vod: one of darknet, voc, coco"),
        ("val: photos\nnames: [ant, [bee]]", "names: a list: a name expected"),
        ("val: photos\nnames: {0: ant, 2: bee}", "names: class 1 has no name"),
        ("val: photos\nnc: -1", "nc: -1: the number of classes expected"),
        ("val: photos\nnc: 99999999", "99999999 classes: 0 to 65536 expected"),
        ("val: photos\nnames: no.names", "names: no.names: no such file or folder"),
        ("val: photos/images\ndifficult: my.names", "difficult: 2 images for 3; one each"),
        ("val: [photos, photos]\ndifficult: my.names", "difficult: goes with a single list"),
        ("- val", "`key: value` lines expected"),
        ("", "`key: value` lines expected"),
        ("val: [", "my.yaml:1: no YAML"),
        ("a: &a [x]\nval: *a", "my.yaml:2: an alias"),
        ("val: !!python/object/apply:os.system [ls]", "my.yaml:1: no YAML"),
        ("val: 2001-99-99", "no YAML: ValueError"),
        ("val: " + "[" * 5000, "no YAML: RecursionError"),
        ("val: photos\0", "is a binary file"),
    ],
)
def test_a_wrong_yaml_is_one_line(text: str, message: str, photos: Path) -> None:
    lay(photos, {"my.yaml": text})
    with pytest.raises(DataError) as caught:
        read(photos / "my.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(photos))
    assert "**" not in str(caught.value)  # no folders in those folders


def test_a_bomb_of_aliases_and_a_large_file(photos: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    lay(photos, {"my.yaml": "\n".join(lines), "large.yaml": "val: x #" + "x" * (1 << 20)})
    with pytest.raises(DataError, match=r"my\.yaml:2: an alias"):
        load_yaml(photos / "my.yaml")
    with pytest.raises(DataError, match="larger than 256 kB, too large for a YAML file"):
        load_yaml(photos / "large.yaml")
    lay(photos, {"date.yaml": "val: 2001-01-01"})
    assert load_yaml(photos / "date.yaml") == {"val": datetime.date(2001, 1, 1)}


def test_data_counts_from_the_current_folder_then_from_its_own(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "classes=2\ntrain=nowhere\nvalid = data/list.txt\nnames=data/my.names\nbackup=b/\n"
    lay(photos, {"data/my.data": text, "data/list.txt": "photos/images/b.png\n"})
    lay(photos, {"data/my.names": "ant\nbee\nwasp\n"})
    assert stems(read(photos / "data/my.data")) == "b"
    lay(photos, {"else/photos/images/b.png": "", "else/data/list.txt": "photos/images/b.png\n" * 2})
    monkeypatch.chdir(photos / "else")
    dataset = read(photos / "data/my.data")
    assert [str(each.path) for each in dataset.samples] == ["photos/images/b.png"] * 2
    assert dataset.names == ("ant", "bee", "wasp")  # whatever `classes` says
    with pytest.raises(DataError, match="no split test; it has train, valid"):
        read(photos / "data/my.data", "test")


@pytest.mark.parametrize(
    "text, message",
    [
        ("classes=x\nvalid=photos/list.txt", "classes: x: the number of classes expected"),
        ("valid=photos/list.txt\nnames=no.names", "names: no.names: no such file"),
        ("valid=empty.txt", "empty.txt: an empty list; an image a line expected"),
    ],
)
def test_a_wrong_data_file(text: str, message: str, photos: Path) -> None:
    lay(photos, {"my.data": text, "empty.txt": "\n"})
    with pytest.raises(DataError) as caught:
        read(photos / "my.data")
    assert message in str(caught.value)
    with pytest.raises(CfgError, match="binary file"):
        read(lay(photos, {"x.data": b"\0"}) / "x.data")


def test_difficult_boxes_lie_in_a_parallel_list(photos: Path) -> None:
    lay(photos, {"my.data": "valid=photos/list.txt\ndifficult=hard.txt\nclasses=2\n"})
    lay(photos, {"hard.txt": "hard/c.png\nhard/a.png\n", "hard/a.txt": "1 .5 .5 1 1\n1 2 3\n"})
    dataset = read(photos / "my.data")
    assert [each.ground_truth.difficult.tolist() for each in dataset.samples] == [
        [False],
        [False, True],
    ]
    assert boxes(dataset, 1) == [(0, [10, 5, 30, 15]), (1, [0, 0, 40, 20])]
    assert problems(dataset, photos) == [("column count", "hard/a.txt:2")]


def test_folders_of_splits(photos: Path) -> None:
    lay(
        photos,
        {"y/images/train/a.png": "", "y/images/val2017/b.png": "", "y/images/test/c.png": ""},
    )
    lay(photos, {f"y/labels/{each}.txt": ROW for each in ("train/a", "val2017/b", "test/c")})
    for split, stem in (("train", "a"), ("val", "b"), ("test", "c")):
        dataset = read(photos / "y", split)
        assert (stems(dataset), dataset.problems) == (stem, ())
    assert stems(read(photos / "y", "all")) == "abc"
    assert stems(read(photos / "photos")) == "abc"
    lay(photos, {"all.yaml": "train: y/images/train\nval: y/images/val2017\ntest: photos/images\n"})
    assert stems(read(photos / "all.yaml", "all")) == "ababc"


def test_a_split_that_a_folder_lacks(photos: Path) -> None:
    """Images of other splits are not taken for its own."""
    lay(
        photos, {"y/train/images/a.png": "", "y/valid/images/b.png": "", "y/labels/train/a.txt": ""}
    )
    for split in ("test", "tset"):
        with pytest.raises(DataError, match=f"y: no split {split}; it has train, valid"):
            read(photos / "y", split)
    assert stems(read(photos / "y", "all")) == "ab"


def test_a_class_may_have_the_name_of_a_split(photos: Path) -> None:
    lay(photos, {"y/lorry/a.png": "", "y/train/b.png": ""})
    assert read(photos / "y", "test").names == ("lorry", "train")


def test_sources_that_are_nothing(photos: Path) -> None:
    for name in (
        "nowhere",
        "no/such/*.jpg",
        "a\0b",
        "a\0/b",
        "x" * 300 + "/b",
        "x" * 5000,
        "[",
        "my.yml",
    ):
        with pytest.raises(DataError) as caught:
            read(photos / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["coco", "coco.yaml", "voc", "voc.yaml"])
def test_descriptions_travel_with_the_package(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"root: (coco|VOCdevkit): no such file or folder"):
        describe(name)
    (tmp_path / "coco").mkdir()
    (tmp_path / "VOCdevkit").mkdir()
    description = describe(name)
    assert description.names is not None
    assert (len(description.names), description.format) == (
        (80, "coco") if name[0] == "c" else (20, "voc")
    )
    assert {each.name for each in (cfg_folder() / "datasets").iterdir()} == {
        "coco.yaml",
        "voc.yaml",
    }


def test_voc_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two years at once; pictures are named by their number alone."""
    for year, name in (("2007", "a"), ("2012", "b")):
        folder = lay(tmp_path / f"VOCdevkit/VOC{year}", {f"JPEGImages/{name}.jpg": ""})
        lay(folder, {f"Annotations/{name}.xml": voc(("dog", "", 1, 1, 9, 9))})
        lay(folder, {"ImageSets/Main/trainval.txt": f"{name}\n"})
    monkeypatch.chdir(tmp_path)
    dataset = read("voc", "train")
    assert stems(dataset) == "ab"
    assert boxes(dataset) == boxes(dataset, 1) == [(11, [0, 0, 9, 9])]
    assert not dataset.problems


# ---- classes of whole images


def test_a_folder_a_class(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {"val/bee/1.jpg": "", "val/ant/2.jpg": "", "val/ant/1.jpg": "", "train/x/1.jpg": ""},
    )
    dataset = read(tmp_path)
    assert dataset.names == ("ant", "bee")
    assert [(each.path.name, each.label) for each in dataset.samples] == [
        *(("1.jpg", 0), ("2.jpg", 0), ("1.jpg", 1))
    ]
    assert not dataset.problems
    assert read(tmp_path / "val", format="classification").names == ("ant", "bee")
    named = read(tmp_path, names=["bee"])
    assert [each.label for each in named.samples] == [0]
    assert problems(named, tmp_path) == [("unknown class", "val/ant")]
    with pytest.raises(DataError, match="a folder for each class expected"):
        read(tmp_path / "val/ant", format="folders")


def test_folders_with_names_of_voc_are_all_classes_there_are(tmp_path: Path) -> None:
    lay(tmp_path, {"val/dog/1.jpg": "", "val/cat/1.jpg": "", "val/car/notes.txt": ""})
    dataset = read(tmp_path)
    assert dataset.names == ("car", "cat", "dog")
    assert [each.label for each in dataset.samples] == [1, 2]


def test_hidden_folders_are_neither_classes_nor_splits(tmp_path: Path) -> None:
    lay(tmp_path, {f"train/{name}/1.jpg": "" for name in ("ant", "bee", ".ipynb_checkpoints")})
    lay(tmp_path, {".git/config": ""})
    assert read(tmp_path, "train").names == ("ant", "bee")
    with pytest.raises(DataError, match="no split val; it has train"):
        read(tmp_path)


def test_a_name_in_the_path(tmp_path: Path) -> None:
    lay(tmp_path, {f"{name}.jpg": "" for name in ("n01/1", "n02/2", "n03/3", "n02/n01")})
    lay(tmp_path, {"list.txt": "n02/2.jpg\nn01/1.jpg\nn03/3.jpg\nn02/n01.jpg\n"})
    lay(tmp_path, {"my.data": "classes=2\nvalid=list.txt\nlabels=my.labels\nnames=my.names\n"})
    lay(tmp_path, {"my.labels": "n01\nn02\n", "my.names": "tench\ngoldfish\n"})
    dataset = read(tmp_path / "my.data")
    assert [each.label for each in dataset.samples] == [1, 0, None, 0]
    assert problems(dataset, tmp_path) == [
        ("no class", "list.txt:3"),
        ("several classes", "list.txt:4"),
    ]
    same = read(tmp_path / "list.txt", format="classification", names=["n01", "n02"])
    assert [each.label for each in same.samples] == [1, 0, None, 0]
    with pytest.raises(DataError, match="need the names that occur in them"):
        read(tmp_path / "list.txt", format="paths")


GBK = "汽车".encode("gbk")
CAR = r"\xc6\xfb\xb3\xb5"


@pytest.mark.parametrize("source", ["my.yaml", "obj.data", "list.txt", "coco.json", "."])
def test_bytes_that_are_no_utf8(source: str, tmp_path: Path) -> None:
    """Names are escaped; paths lead to their files."""
    image = os.fsdecode(GBK + b".png")
    lay(tmp_path, {image: "", str(Path(image).with_suffix(".txt")): ROW})
    lay(tmp_path, {"list.txt": GBK + b".png\n", "my.names": GBK + b"\n"})
    lay(tmp_path, {"my.yaml": b"val: " + GBK + b".png\nnames: [" + GBK + b"]\n"})
    lay(tmp_path, {"obj.data": b"valid = " + GBK + b".png\nnames = my.names\n"})
    rows = b'"images": [{"id": 1, "file_name": "%s.png", "width": 40, "height": 20}]' % GBK
    boxes_ = b'"annotations": [{"image_id": 1, "category_id": 3, "bbox": [10, 5, 20, 10]}]'
    categories = b'"categories": [{"id": 3, "name": "%s"}]' % GBK
    lay(tmp_path, {"coco.json": b"{%s, %s, %s}" % (rows, boxes_, categories)})
    own = source in ("list.txt", ".")
    dataset = read(tmp_path / source, names=tmp_path / "my.names" if own else None)
    assert dataset.names == (CAR,)
    assert [sample.path.name for sample in dataset.samples] == [image]
    assert boxes(dataset) == [(0, [10, 5, 30, 15])]
    assert not dataset.problems


def test_class_names_in_paths_that_are_no_utf8(tmp_path: Path) -> None:
    lay(tmp_path, {os.fsdecode(GBK + b"/1.png"): "", "my.names": b"ant\n" + GBK})
    dataset = read(tmp_path / "*/1.png", format="paths", names=tmp_path / "my.names")
    assert [sample.label for sample in dataset.samples] == [1]
    assert read(tmp_path, format="folders", names=tmp_path / "my.names").samples[0].label == 1


@pytest.mark.parametrize("source", ["none.txt", "none*.jpg"])
def test_a_missing_source_is_named_once(source: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"^{re.escape(source)}: no (such|image)"):
        read(source)
