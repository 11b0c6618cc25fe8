"""Darknet's labels, lists and folders: what is read, and every kind of problem, named by place."""

from dataclasses import replace
from pathlib import Path

import keys
import numpy as np
import pytest
from datasets import boxes, lay, problems, write_image
from PIL import Image

from darknet_torch.data import KINDS, NOTES, Dataset, GroundTruth, Problem, Sample, read, statistics
from darknet_torch.data.darknet import label_paths
from darknet_torch.errors import DarknetError, DataError, UsageError

DATASETS = keys.SHARED / "datasets"
needs_shared = pytest.mark.skipif(not DATASETS.is_dir(), reason=f"{DATASETS} is not there")
NAMES = ("ant", "bee")


def test_a_row_becomes_a_box_in_pixels(tmp_path: Path) -> None:
    lay(tmp_path, {"images/a.png": "", "labels/a.txt": "1 0.5 0.25 0.25 0.5\r\n\n0 .9 .5 .2 1\n"})
    dataset = read(tmp_path / "images", names=NAMES)
    # x: 40 * (0.5 -+ 0.125), y: 20 * (0.25 -+ 0.25)
    assert boxes(dataset) == [(1, [15, 0, 25, 10]), (0, [32, 0, 40, 20])]
    sample = dataset.samples[0]
    assert (sample.width, sample.height, sample.image_id) == (40, 20, 1)
    assert sample.ground_truth.area.tolist() == pytest.approx([100, 160])
    assert dataset.names == NAMES
    assert not dataset.problems


ROWS = {
    "0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5": "column count",
    "0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5 7": "column count",
    "0 0.5 0.5 0.5 0.5\n0 0.5 nan 0.5 0.5": "not a number",
    "0 0.5 0.5 0.5 0.5\n0 0.5 inf 0.5 0.5": "not a number",
    "0 0.5 0.5 0.5 0.5\n0 0.5 1e300 0.5 0.5": "not a number",
    "0 0.5 0.5 0.5 0.5\n0 0.5 1_0 0.5 0.5": "not a number",
    "0 0.5 0.5 0.5 0.5\n0 0.5 ant 0.5 0.5": "not a number",
    "0 0.5 0.5 0.5 0.5\n0.0 0.5 0.5 0.5 0.5": "not a number",
    "0 0.5 0.5 0.5 0.5\n2 0.5 0.5 0.5 0.5": "class out of range",
    "0 0.5 0.5 0.5 0.5\n-1 0.5 0.5 0.5 0.5": "class out of range",
    "0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0 0.5": "zero area",
    "0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 -0.5": "zero area",
    "0 0.5 0.5 0.5 0.5\n0 0.5 0.5 1.1 0.5": "outside the picture",
    "0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5": "duplicate row",
}


@pytest.mark.parametrize("rows", ROWS)
def test_a_wrong_row_is_reported_with_its_line(rows: str, tmp_path: Path) -> None:
    lay(tmp_path, {"images/a.png": "", "labels/a.txt": rows})
    dataset = read(tmp_path / "images", names=NAMES)
    assert problems(dataset, tmp_path) == [(ROWS[rows], "labels/a.txt:2")]
    kept = ROWS[rows] in ("outside the picture", "duplicate row")
    assert len(dataset.samples[0].ground_truth) == 1 + kept
    assert dataset.counts == {ROWS[rows]: 1}
    with pytest.raises(DataError, match=r"labels/a\.txt:2: "):
        read(tmp_path / "images", names=NAMES, strict=True)


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ("0 .5 .5 .1 .1 .9", "is the last one a score?"),
        ("0 .1 .1 .2 .1 .2 .2", "is it a polygon?"),
        ("0 100 120 50 60", "are its numbers pixels, in place of fractions of the image?"),
        ("0 .5 .5 3 .5", "pixels right"),
        ("0 .5 .5 .1 .1 .9 .9 .9", "class x y w h expected"),
    ],
)
def test_what_a_wrong_row_seems_to_be(row: str, hint: str, tmp_path: Path) -> None:
    lay(tmp_path, {"a.png": "", "a.txt": row})
    (problem,) = read(tmp_path, names=NAMES).problems
    assert problem.what.endswith(hint)


@pytest.mark.parametrize("w, beyond", [("1.0249", False), ("1.0251", True)])
def test_half_a_pixel_is_rounding(w: str, beyond: bool, tmp_path: Path) -> None:
    """40 pixels wide: 1.025 reaches 0.5 beyond on either side."""
    lay(tmp_path, {"a.png": "", "a.txt": f"0 0.5 0.5 {w} 0.5"})
    dataset = read(tmp_path, names=NAMES)
    assert bool(dataset.problems) == beyond
    assert dataset.samples[0].ground_truth.xyxy[0, 0] == pytest.approx(
        20 - 20 * float(w)
    )  # not clipped
    if beyond:
        assert "0.502 pixels left, 0.502 pixels right" in dataset.problems[0].what


def test_problems_of_pictures(tmp_path: Path) -> None:
    lay(tmp_path, {f"{name}.png": "" for name in "abcd"} | {"e.png": b"\x89PNG nothing more"})
    lay(tmp_path, {"a.txt": "0 .5 .5 1 1", "b.txt": " \n", "c.txt": b"\0\1"})
    lay(tmp_path, {"list.txt": "a.png\nb.png\nc.png\nd.png\n\ne.png\nf.png\na.png\n"})
    dataset = read(tmp_path / "list.txt", names=NAMES)
    assert problems(dataset, tmp_path) == [
        ("negative picture", "b.txt"),
        ("unreadable label file", "c.txt"),
        ("missing label file", "d.png"),
        ("unreadable picture", "list.txt:6"),
        ("missing picture", "list.txt:7"),
        ("duplicate picture", "list.txt:8"),
    ]
    assert [(each.path.name, len(each.ground_truth)) for each in dataset.samples] == [
        *(("a.png", 1), ("b.png", 0), ("c.png", 0), ("d.png", 0), ("a.png", 1))
    ]
    # the place in the list, those without a picture counted
    assert [each.image_id for each in dataset.samples] == [1, 2, 3, 4, 7]
    assert [each.kind for each in dataset.problems if each not in dataset.faults] == [
        "negative picture"
    ]


def test_a_negative_picture_is_no_fault(tmp_path: Path) -> None:
    lay(tmp_path, {"a.png": "", "a.txt": ""})
    assert read(tmp_path, names=NAMES, strict=True).counts == {"negative picture": 1}


def test_every_picture_is_decoded_if_requested(tmp_path: Path) -> None:
    lay(tmp_path, {"a.txt": "0 .5 .5 1 1", "b.txt": "0 .5 .5 1 1"})
    for name in ("a.jpg", "b.jpg"):
        Image.effect_noise((64, 48), 90).save(tmp_path / name)
    whole = (tmp_path / "b.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: len(whole) // 2])
    assert not read(tmp_path).problems
    assert problems(read(tmp_path, verify=True), tmp_path) == [("unreadable picture", "b.jpg")]


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("verify", [False, True])
def test_a_picture_has_the_size_at_which_it_is_shown(
    ending: str, verify: bool, tmp_path: Path
) -> None:
    write_image(tmp_path / f"a.{ending}", (40, 20), orientation=6)
    lay(tmp_path, {"a.txt": "0 .5 .5 1 1"})
    dataset = read(tmp_path, verify=verify)
    assert boxes(dataset) == [(0, [0, 0, 20, 40])]


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, {"a.png": "", "a.txt": "0 .5 .5 1 1"})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 799)
    with pytest.warns(Image.DecompressionBombWarning):
        dataset = read(tmp_path)
    assert dataset.counts == {"unreadable picture": 1}
    assert "40x20 pixels are more than 799" in dataset.problems[0].what


@pytest.mark.parametrize(
    "picture, rule, labels",
    [
        ("d/images/val2017/x.jpg", "alexeyab", "d/labels/val2017/x.txt"),
        ("d/images/val/x.jpg", "alexeyab", "d/images/val/x.txt"),
        ("VOC/JPEGImages/x.jpg", "alexeyab", "VOC/labels/x.txt"),
        ("d/images/val/x.jpg", "pjreddie", "d/labels/val/x.txt"),
        ("my_images/images/x.png", "pjreddie", "my_labels/images/x.txt"),
        ("VOC/JPEGImages/x.jpg", "pjreddie", "VOC/labels/x.txt"),
        ("data/img/x.jpg", "pjreddie", "data/img/x.txt"),
    ],
)
def test_rules_of_the_forks(picture: str, rule: str, labels: str) -> None:
    assert label_paths(Path(picture), rule) == [Path(labels)]


def test_without_a_rule_the_first_that_is_there(tmp_path: Path) -> None:
    names = ("my_images/images/x.txt", "my_images/labels/x.txt")
    lay(tmp_path, {"my_images/images/x.png": "", names[0]: "0 .5 .5 .5 .5"})
    assert boxes(read(tmp_path / "my_images/images")) == [(0, [10, 5, 30, 15])]
    lay(tmp_path, {names[1]: "1 .5 .5 .5 .5"})
    assert boxes(read(tmp_path / "my_images/images"))[0][0] == 1
    dataset = read(tmp_path / "my_images/images", label_rule="pjreddie")
    assert dataset.counts == {"missing label file": 1}


def test_classes_without_names_are_numbers(tmp_path: Path) -> None:
    lay(tmp_path, {"a.png": "", "a.txt": "4 .5 .5 .5 .5\n70000 .5 .5 .5 .5"})
    dataset = read(tmp_path)
    assert dataset.names == ("0", "1", "2", "3", "4")
    assert dataset.counts == {"class out of range": 1}


def test_names_can_be_printed(tmp_path: Path) -> None:
    lay(tmp_path, {"a.png": "", "a.txt": "0 .5 .5 1 1", "my.names": "caf\xe9".encode("latin-1")})
    assert read(tmp_path, names=tmp_path / "my.names").names == ("caf\\xe9",)
    with pytest.raises(DataError, match=r"names: no\.names: no such file"):
        read(tmp_path, names="no.names")


def test_progress_and_arguments(tmp_path: Path) -> None:
    lay(tmp_path, {f"{name}.png": "" for name in "abc"})
    seen: list[tuple[int, int]] = []
    read(tmp_path, progress=lambda done, every: seen.append((done, every)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for wrong in ({"format": "yolo"}, {"label_rule": "ab"}, {"workers": 0}):
        with pytest.raises(UsageError, match="expected"):
            read(tmp_path, **wrong)  # type: ignore[arg-type]


def test_statistics(tmp_path: Path) -> None:
    lay(tmp_path, {"a.png": "", "a.txt": "0 .5 .5 1 1\n0 .5 .5 .5 .5\n1 .5 .5 1 1"})
    lay(tmp_path, {"b.png": "", "b.txt": ""})
    dataset = statistics(read(tmp_path, names=NAMES))
    assert dataset["classes"] == [
        {"class": "ant", "class_id": 0, "boxes": 2, "pictures": 1},
        {"class": "bee", "class_id": 1, "boxes": 1, "pictures": 1},
    ]
    assert dataset["boxes_a_picture"] == {"least": 0, "median": 1.5, "mean": 1.5, "most": 3}
    assert dataset["box_sizes"] == {"small": 3, "medium": 0, "large": 0}
    assert dataset["picture_sizes"] == [[40, 20, 2]]
    assert (dataset["boxes"], dataset["without_boxes"]) == (3, 1)


def test_parts_of_a_data_set() -> None:
    ground_truth = GroundTruth(
        xyxy=np.array([[0, 0, 4, 5], [1, 1, 2, 3.0]]), class_id=np.array([1, 0])
    )
    assert ground_truth.area.tolist() == [20, 2]
    assert ground_truth[ground_truth.class_id == 0].xyxy.tolist() == [[1, 1, 2, 3]]
    with pytest.raises(DataError, match="2 boxes"):
        GroundTruth(xyxy=np.zeros((2, 4)), class_id=np.zeros(3, int))
    samples = tuple(Sample(Path(name), 9, 9, ground_truth, 1) for name in "abc")
    dataset = Dataset(("x", "y"), samples, (Problem("zero area", "a:1", "zero"),))
    assert [each.path.name for each in dataset.take([2, 0]).samples] == ["c", "a"]
    assert len(dataset.take(slice(1))) == 1
    assert str(replace(dataset.problems[0], where="b")) == "b: zero"


def test_the_kinds_are_documented() -> None:
    text = (keys.ROOT / "docs" / "data.md").read_text()
    for kind, what in KINDS.items():
        assert f"| {kind} | {what} |" in text
    assert set(KINDS) >= NOTES


# ---- real ones


@needs_shared
def test_yolo_mark() -> None:
    release = DATASETS / "yolo-mark/x64/Release/data"
    dataset = read(release / "obj.data")
    assert dataset.names == ("air", "bird")
    assert len(dataset) == 10
    assert [each.kind for each in dataset.problems] == ["missing picture"]
    assert dataset.problems[0].where == f"{release.resolve()}/train.txt:7"
    assert "air7.jpg" in dataset.problems[0].what
    # its only row: 0 0.498437 0.479861 0.117188 0.168056
    assert dataset.samples[0].ground_truth.xyxy[0] == pytest.approx(
        [800 * 0.439843, 532 * 0.395833, 800 * 0.557031, 532 * 0.563889]
    )


@needs_shared
def test_coco128() -> None:
    dataset = read(DATASETS / "coco128/images/val2017", names=DATASETS / "coco128/coco.names")
    classes = np.concatenate([each.ground_truth.class_id for each in dataset.samples])
    assert (len(dataset), len(classes), len(set(classes.tolist()))) == (128, 898, 73)
    assert not dataset.problems
    same = read(DATASETS / "coco128", names="coco.names")
    assert [each.path for each in same.samples] == [each.path for each in dataset.samples]


def test_a_list_of_which_nothing_is_there(tmp_path: Path) -> None:
    lay(tmp_path, {"list.txt": "".join(f"{n}.jpg\n" for n in range(4000))})
    assert read(tmp_path / "list.txt").counts == {"missing picture": 4000}
    with pytest.raises(DarknetError, match=r"list\.txt:1: "):
        read(tmp_path / "list.txt", strict=True)
