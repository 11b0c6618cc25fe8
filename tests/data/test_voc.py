"""VOC's XML: corners, flags, names, layouts; and XML that means harm."""

from pathlib import Path

import keys
import pytest
from datasets import boxes, lay, problems, voc

from darknet_torch.data import read
from darknet_torch.data.safe_xml import read_xml
from darknet_torch.errors import DataError

BCCD = keys.SHARED / "datasets" / "bccd" / "BCCD"
needs_shared = pytest.mark.skipif(not BCCD.is_dir(), reason=f"{BCCD} is not there")


def one(folder: Path, annotation: str | bytes) -> Path:
    """A folder in VOC's layout with one picture of 40 x 20 pixels."""
    return lay(folder, {"JPEGImages/a.jpg": "", "Annotations/a.xml": annotation})


def test_corners_count_from_one_and_belong_to_the_box(tmp_path: Path) -> None:
    flags = "<difficult>1</difficult><truncated>1</truncated>"
    one(tmp_path, voc(("bee", flags, 1, 1, 40, 20), ("ant", "", 3.5, 4, 20, 11)))
    dataset = read(tmp_path, names=["ant", "bee"])
    assert boxes(dataset) == [(1, [0, 0, 40, 20]), (0, [2.5, 3, 20, 11])]
    ground_truth = dataset.samples[0].ground_truth
    assert ground_truth.difficult.tolist() == ground_truth.truncated.tolist() == [True, False]
    assert not dataset.problems


def test_names_are_found_and_sorted(tmp_path: Path) -> None:
    one(tmp_path, voc(("wasp", "", 1, 1, 9, 9), ("ant", "", 1, 1, 8, 8)))
    dataset = read(tmp_path)
    assert dataset.names == ("ant", "wasp")
    assert [each for each, _ in boxes(dataset)] == [1, 0]


def test_names_of_voc_itself_keep_their_numbers(tmp_path: Path) -> None:
    one(tmp_path, voc(("person", "", 1, 1, 9, 9), ("bicycle", "", 1, 1, 8, 8)))
    dataset = read(tmp_path)
    assert len(dataset.names) == 20
    assert [dataset.names[each] for each, _ in boxes(dataset)] == ["person", "bicycle"]


@pytest.mark.parametrize(
    "corners, kind",
    [
        (("wasp", "", 1, 1, 9, 9), "unknown class"),
        (("ant", "", 9, 1, 9, 9), "zero area"),
        (("ant", "", 1, 9, 9, 4), "zero area"),
        (("ant", "", 1, "x", 9, 9), "not a number"),
        (("ant", "", 1, "nan", 9, 9), "not a number"),
        (("ant", "", 1, "", 9, 9), "not a number"),
        (("", "", 1, 1, 9, 9), "malformed entry"),
        (("ant", "", 1, 1, 41, 9), "outside the picture"),
        (("ant", "", 0, 1, 9, 9), "outside the picture"),
    ],
)
def test_a_wrong_object_is_reported_with_its_line(
    corners: tuple[str, ...], kind: str, tmp_path: Path
) -> None:
    one(tmp_path, voc(("ant", "", 1, 1, 40, 20), corners))
    dataset = read(tmp_path, names=["ant"])
    # two lines an object; that of the second <bndbox> is the sixth
    assert problems(dataset, tmp_path) == [(kind, "Annotations/a.xml:6")]
    assert len(dataset.samples[0].ground_truth) == 1 + (kind == "outside the picture")


def test_an_object_without_a_box(tmp_path: Path) -> None:
    one(tmp_path, "<annotation>\n\n<object><name>ant</name></object></annotation>")
    assert problems(read(tmp_path), tmp_path) == [("malformed entry", "Annotations/a.xml:3")]


def test_the_size_of_the_picture_counts(tmp_path: Path) -> None:
    one(tmp_path, voc(("ant", "", 1, 1, 9, 9)).replace("<width>40", "<width>41"))
    dataset = read(tmp_path)
    assert problems(dataset, tmp_path) == [("size disagrees", "Annotations/a.xml:2")]
    assert dataset.problems[0].what == "size 41 x 20, the image has 40 x 20"
    assert dataset.samples[0].width == 40


def test_negative_missing_unreadable(tmp_path: Path) -> None:
    lay(tmp_path, {f"JPEGImages/{name}.jpg": "" for name in "abc"})
    lay(tmp_path, {"Annotations/a.xml": voc(), "Annotations/b.xml": "<annotation><object>"})
    lay(tmp_path, {"ImageSets/Main/val.txt": "a\nb  1\nc -1\nd\n"})
    assert problems(read(tmp_path), tmp_path) == [
        ("negative picture", "Annotations/a.xml"),
        ("unreadable label file", "Annotations/b.xml"),
        ("missing label file", "JPEGImages/c.jpg"),
        ("missing picture", "ImageSets/Main/val.txt:4"),
    ]
    with pytest.raises(DataError, match=r"no split 'vall'; there are val, all"):
        read(tmp_path, "vall")


def test_annotations_beside_pictures_and_elsewhere(tmp_path: Path) -> None:
    lay(tmp_path, {"photos/a.png": "", "photos/a.xml": voc(("ant", "", 1, 1, 9, 9))})
    assert boxes(read(tmp_path / "photos")) == [(0, [0, 0, 9, 9])]
    (tmp_path / "notes").mkdir()
    (tmp_path / "photos/a.xml").rename(tmp_path / "notes/a.xml")
    lay(tmp_path, {"my.yaml": "val: photos\nannotations: notes\n"})
    assert boxes(read(tmp_path / "my.yaml")) == [(0, [0, 0, 9, 9])]


@needs_shared
def test_bccd() -> None:
    """364 pictures; two boxes are points, and nothing else is wrong."""
    parts = {split: read(BCCD, split) for split in ("train", "val", "test")}
    assert {split: len(dataset) for split, dataset in parts.items()} == {
        "train": 205,
        "val": 87,
        "test": 72,
    }
    assert {each.names for each in parts.values()} == {("Platelets", "RBC", "WBC")}
    dataset = read(BCCD, "all")
    assert len(dataset) == 364
    places = ["BloodImage_00338.xml:163", "BloodImage_00343.xml:55"]
    expected = [("zero area", f"{BCCD}/Annotations/{place}") for place in places]
    assert [(each.kind, each.where) for each in dataset.problems] == expected
    together = [each for part in parts.values() for each in part.problems]
    assert sorted((each.kind, each.where) for each in together) == expected
    assert sum(len(each.ground_truth) for each in dataset.samples) == 4888 - 2
    first = dataset.samples[0]  # its file begins with WBC 260 177 491 376
    assert first.ground_truth.xyxy[0].tolist() == [259, 176, 491, 376]
    assert dataset.names[first.ground_truth.class_id[0]] == "WBC"


# ---- XML that means harm

BOMB = '<!DOCTYPE a [<!ENTITY l "lol">{}]><annotation>&{};</annotation>'.format(
    "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(2, 30)), "l29"
)
OUTSIDE = (
    '<!DOCTYPE a [<!ENTITY x SYSTEM "{}">]>'
    "<annotation><object><name>&x;</name></object></annotation>"
)
HARM = {
    "bomb": BOMB,
    "one large entity": f'<!DOCTYPE a [<!ENTITY x "{"y" * 9999}">]><a>{"&x;" * 9999}</a>',
    "outside": OUTSIDE,
    "parameter": '<!DOCTYPE a [<!ENTITY % x SYSTEM "{}"> %x;]><annotation/>',
    "type elsewhere": '<!DOCTYPE a SYSTEM "{}"><annotation/>',
    "plain type": "<!DOCTYPE annotation><annotation/>",
    "deep": "<a>" * 100 + "</a>" * 100,
    "large": f"<annotation>{' ' * (1 << 20)}</annotation>",
    "unknown entity": "<annotation>&nbsp;</annotation>",
    "no encoding": "<?xml version='1.0' encoding='martian'?><annotation/>",
    "other encoding": "<?xml version='1.0' encoding='utf-7'?><annotation>+AA</annotation>",
    "another tag": "<annotations/>",
    "nothing": "",
}


@pytest.mark.parametrize("name", HARM)
def test_harmful_files_are_unreadable_and_no_more(name: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("wasp")
    one(tmp_path, HARM[name].replace("{}", secret.as_uri()))
    dataset = read(tmp_path)
    assert dataset.counts == {"unreadable label file": 1}
    assert dataset.names == () or "wasp" not in dataset.names
    assert "wasp" not in str(dataset.problems[0])
    assert "\n" not in str(dataset.problems[0])


@pytest.mark.parametrize("name", ["bomb", "outside", "parameter", "type elsewhere", "plain type"])
def test_document_types_are_refused_where_they_begin(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(HARM[name])
    with pytest.raises(DataError, match=r"line 1: StartDoctypeDecl .*no document types"):
        read_xml(path)


def test_text_in_a_million_pieces(tmp_path: Path) -> None:
    """What joins them one by one takes minutes."""
    path = tmp_path / "a.xml"
    path.write_text(f"<annotation>{'a<!---->' * 120_000}</annotation>")
    assert len(read_xml(path).text) <= 20_000


@pytest.mark.parametrize("head", [b"", b'<?xml version="1.0" encoding="gbk"?>'])
def test_names_that_are_no_utf8(head: bytes, tmp_path: Path) -> None:
    """An encoding that is declared is taken; without one the bytes are escaped."""
    word = "汽车"
    lay(tmp_path, {"a.png": "", "a.xml": head + voc((word, "", 11, 6, 30, 15)).encode("gbk")})
    dataset = read(tmp_path / "a.png")
    assert dataset.names == (word if head else r"\xc6\xfb\xb3\xb5",)
    assert not dataset.problems
