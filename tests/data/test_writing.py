"""Formats into one another and back; the command; what comes out of 5000 files in a few seconds."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import keys
import numpy as np
import pytest
from datasets import boxes, lay, voc, write_image
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet_torch.cli import data, main
from darknet_torch.data import Dataset, GroundTruth, Sample, convert, read
from darknet_torch.data.description import LABEL_FORMATS
from darknet_torch.errors import DataError, UsageError

NAMES = ("ant", "bee", "a wasp")
WIDTH, HEIGHT = 400, 200


@st.composite
def ground_truths(draw: st.DrawFn) -> GroundTruth:
    """Boxes of at least three pixels inside 400 x 200, some of them difficult or cut off."""
    corners, flags = [], []
    for _ in range(draw(st.integers(0, 5))):
        w, h = draw(st.floats(3, 400)), draw(st.floats(3, 200))
        x, y = draw(st.floats(0, 1)) * (WIDTH - w), draw(st.floats(0, 1)) * (HEIGHT - h)
        corners.append((x, y, x + w, y + h))
        flags.append((draw(st.booleans()), draw(st.booleans())))
    ids = draw(st.lists(st.integers(0, 2), min_size=len(corners), max_size=len(corners)))
    difficult, truncated = np.array(flags, bool).reshape(-1, 2).T
    return GroundTruth(
        xyxy=np.array(corners, float).reshape(-1, 4),
        class_id=np.array(ids, int),
        difficult=difficult,
        truncated=truncated,
    )


@settings(max_examples=25)
@given(
    st.lists(ground_truths(), min_size=1, max_size=2),
    st.permutations(["darknet", "coco", "voc"]),
    st.sampled_from(["link", "copy", "none"]),
)
def test_boxes_survive_all_formats(marks: list[GroundTruth], order: list[str], copy: str) -> None:
    """Darknet's rows and COCO's numbers lose nothing that counts, VOC half a pixel a corner."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [write_image(folder / f"{n}.jpg", (WIDTH, HEIGHT)) for n in range(len(marks))]
        samples = [
            Sample(path, WIDTH, HEIGHT, ground_truth, number)
            for number, (path, ground_truth) in enumerate(zip(paths, marks, strict=True), 1)
        ]
        dataset = start = Dataset(NAMES, tuple(samples))
        lost = 1e-6
        for step, form in enumerate(order):
            path = convert(dataset, folder / str(step), format=form, copy=copy)
            again = read(path)
            assert set(again.counts) <= {"negative picture", "duplicate row"}
            lost = 0.5 + 1e-6 if form == "voc" else lost
            assert again.names == NAMES
            assert len(again) == len(start)
            for number in range(len(start)):
                after, before = (each.samples[number].ground_truth for each in (again, start))
                assert len(after) == len(before)
                _nearest(after, before, lost)
            dataset = again


def _nearest(ours: GroundTruth, expected: GroundTruth, lost: float) -> None:
    """Every box has one of the same class and flag as near as that, whatever the order."""
    for ground_truth, others in ((ours, expected), (expected, ours)):
        for index in range(len(ground_truth)):
            same = (others.class_id == ground_truth.class_id[index]) & (
                others.difficult == ground_truth.difficult[index]
            )
            apart = np.abs(others.xyxy[same] - ground_truth.xyxy[index]).max(axis=1)
            assert apart.min() <= lost


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures of one name, a difficult box, a truncated one."""
    lay(tmp_path, {"VOC/JPEGImages/a.jpg": "", "other/a.png": "", "other/a.xml": voc()})
    flags = "<difficult>1</difficult><truncated>1</truncated>"
    marks = voc(("bee", "", 1, 1, 20, 10), ("ant", flags, 3, 3, 40, 20))
    lay(tmp_path, {"VOC/Annotations/a.xml": marks})
    lay(tmp_path, {"my.yaml": "val: [VOC, other]\nnames: [ant, bee, a wasp]\n"})
    return tmp_path


def test_darknets_files(photos: Path) -> None:
    """As they are written by hand: 40 x 20 pixels, middle and size as fractions."""
    out = photos / "out"
    assert convert(read(photos / "my.yaml"), out) == out / "data.yaml"
    assert (out / "val/a.txt").read_text() == "1 0.25 0.25 0.5 0.5\n"
    assert (out / "val/a-2.txt").read_text() == ""
    assert (out / "val_difficult/a.txt").read_text() == "0 0.525 0.55 0.95 0.9\n"
    assert (out / "val.txt").read_text() == "val/a.jpg\nval/a-2.png\n"
    assert (out / "val_difficult.txt").read_text() == "val_difficult/a.jpg\nval_difficult/a-2.png\n"
    assert (out / "data.names").read_text() == "ant\nbee\na wasp\n"
    assert (out / "data.data").read_text() == (
        "classes = 3\nvalid = val.txt\ndifficult = val_difficult.txt\n"
        "names = data.names\nbackup = backup\n"
    )
    assert (out / "val/a.jpg").resolve() == photos / "VOC/JPEGImages/a.jpg"
    for name in ("data.yaml", "data.data"):
        again = read(out / name, strict=True)
        assert boxes(again) == [(1, [0, 0, 20, 10]), (0, [2, 2, 40, 20])]
        assert again.samples[0].ground_truth.difficult.tolist() == [False, True]
    assert not list(out.rglob(".*"))


def test_vocs_and_cocos_files(photos: Path) -> None:
    dataset = read(photos / "my.yaml")
    convert(dataset, photos / "voc", format="voc", copy="copy")
    text = (photos / "voc/Annotations/a.xml").read_text()
    assert "<xmin>3</xmin>" in text
    assert "<ymax>20</ymax>" in text
    assert (photos / "voc/ImageSets/Main/val.txt").read_text() == "a\na-2\n"
    assert not (photos / "voc/JPEGImages/a.jpg").is_symlink()
    again = read(photos / "voc", names=NAMES)
    assert [boxes(again, n) for n in (0, 1)] == [boxes(dataset, n) for n in (0, 1)]
    assert again.samples[0].ground_truth.truncated.tolist() == [False, True]
    convert(dataset, photos / "coco", format="coco", copy="none")
    content = json.loads((photos / "coco/annotations/instances_val.json").read_text())
    assert content["annotations"][1] == {
        "id": 2,
        "image_id": 1,
        "category_id": 1,
        "bbox": [2, 2, 38, 18],
        "area": 684,
        "iscrowd": 0,
        "difficult": 1,
        "truncated": 1,
    }
    again = read(photos / "coco/data.yaml")
    assert boxes(again) == boxes(dataset)
    assert again.samples[0].ground_truth.difficult.tolist() == [False, True]


def test_crowds_become_difficult_where_there_are_none(tmp_path: Path) -> None:
    ground_truth = GroundTruth(
        xyxy=np.array([[0, 0, 9, 9.0]]), class_id=np.array([0]), crowd=np.array([True])
    )
    start = Dataset(("ant",), (Sample(write_image(tmp_path / "a.png"), 40, 20, ground_truth, 1),))
    for form in ("darknet", "voc"):
        (sample,) = read(convert(start, tmp_path / form, format=form)).samples
        flags = sample.ground_truth.difficult.tolist(), sample.ground_truth.crowd.tolist()
        assert flags == ([True], [False])


def test_a_second_split_joins_the_first(photos: Path) -> None:
    dataset, out = read(photos / "my.yaml"), photos / "out"
    convert(dataset, out, split="train")
    convert(dataset.take([0]), out, split="val")
    assert (len(read(out / "data.yaml", "train")), len(read(out / "data.yaml"))) == (2, 1)
    assert (len(read(out / "data.data", "train")), len(read(out / "data.data"))) == (2, 1)
    with pytest.raises(DataError, match=r"data\.yaml: format: differs from the data set to write"):
        convert(dataset, out, format="voc")


@pytest.mark.parametrize("copy", ["link", "copy"])
def test_two_splits_may_have_images_of_one_name(copy: str, tmp_path: Path) -> None:
    """In VOC's layout, too, which has one folder for the images of all splits."""
    lay(tmp_path, {"train/a.png": "", "val/a.png": "", "val/A.jpg": ""})
    lay(tmp_path, {"train/a.txt": "0 .5 .5 1 1\n", "val/a.txt": "1 .25 .5 .5 1\n"})
    lay(tmp_path, {"my.yaml": "train: train\nval: val\nnames: [ant, bee]\n"})
    out = tmp_path / "out"
    for split in ("train", "val", "train", "val"):  # again: under the same names
        path = convert(read(tmp_path / "my.yaml", split), out, format="voc", copy=copy, split=split)
    assert boxes(read(path, "train")) == [(0, [0, 0, 40, 20])]
    again = read(path, "val")
    assert sorted(each.path.stem for each in again.samples) == ["A-2", "a-3"]
    assert [boxes(again, n) for n in (0, 1)] == [[], [(1, [0, 0, 20, 20])]]
    assert len(list((out / "Annotations").iterdir())) == 3


def test_two_splits_of_one_name_that_stay_where_they_are(tmp_path: Path) -> None:
    lay(tmp_path, {"train/a.b.png": "", "val/a.b.png": ""})
    lay(tmp_path, {"my.yaml": "train: train\nval: val\nnames: [ant]\n"})
    train, val = (read(tmp_path / "my.yaml", split) for split in ("train", "val"))
    convert(train, tmp_path / "out", format="voc", copy="none", split="train")
    before = sorted(path for path in (tmp_path / "out").rglob("*"))
    with pytest.raises(DataError, match=r"val/a\.b\.png: another image has that name"):
        convert(val, tmp_path / "out", format="voc", copy="none")
    assert sorted(path for path in (tmp_path / "out").rglob("*")) == before


def test_files_have_the_modes_of_new_files(tmp_path: Path) -> None:
    """They are written in threads, and what mode the system gives belongs to the whole process."""
    lay(tmp_path, {f"in/{n}.png": "" for n in range(60)} | {f"in/{n}.txt": "" for n in range(60)})
    (tmp_path / "before").touch()
    convert(read(tmp_path / "in"), tmp_path / "out", copy="copy")
    (tmp_path / "after").touch()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 240
    assert len({path.stat().st_mode for path in files}) == 1


def test_what_cannot_be_converted(photos: Path) -> None:
    dataset, out = read(photos / "my.yaml"), photos / "out"
    with pytest.raises(UsageError, match="format=yolo: one of darknet, voc, coco expected"):
        convert(dataset, out, format="yolo")
    with pytest.raises(DataError, match="another image has that name; link or copy them"):
        convert(dataset, out, copy="none")
    with pytest.raises(DataError, match="lies in the folder to write to"):
        convert(dataset, photos / "VOC", format="voc")
    (photos / "file").write_text("")
    with pytest.raises(DataError, match="file: cannot be written"):
        convert(dataset, photos / "file")
    for names, message in ((("a", " b"), "class 1: .*blanks"), (("a", "b", "a"), "class 2: a: is")):
        with pytest.raises(DataError, match=message):
            convert(replace(dataset, names=names), out, format="coco")
    assert convert(replace(dataset, names=("a", "b", "a")), out)
    lay(photos, {"tree/ant/a.png": ""})
    with pytest.raises(DataError, match="classes of whole images"):
        convert(read(photos / "tree"), out)


# ---- the command


def test_check(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(photos / "my.yaml")]) == 0
    printed = capsys.readouterr().out
    assert "2 pictures, 2 boxes, 3 classes" in printed
    assert "      1 negative picture" in printed
    lay(photos, {"list.txt": "other/a.png\nnowhere.png\n"})
    given = ["data", "check", str(photos / "list.txt"), "--json", "--verify"]
    assert main(given) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["counts"] == {"missing picture": 1, "negative picture": 1}
    assert printed["problems"][1]["where"] == f"{photos}/list.txt:2"
    assert main([*given, "--strict"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "list.txt:2: " in error
    assert main(["data", "check", str(photos / "no.yaml")]) == 2


def test_the_formats_of_the_command() -> None:
    assert data.DATASET_FORMATS == LABEL_FORMATS


def test_stats(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "stats", str(photos / "my.yaml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("2 pictures, 2 boxes")
    assert "pictures: 40 x 20 (2)" in lines
    assert lines[-1].split(maxsplit=3) == ["2", "0", "0", "a wasp"]
    assert main(["data", "stats", str(photos / "my.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["boxes"] == 2


def test_convert(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = photos / "out"
    given = ["data", "convert", str(photos / "my.yaml"), "-o", str(out), "--to", "coco"]
    assert main([*given, "--pictures", "copy", "--out-split", "test"]) == 0
    assert "2 pictures, split test" in capsys.readouterr().out
    assert len(read(out / "data.yaml", "test")) == 2


@pytest.mark.parametrize("tool, source", [("voc", "VOC"), ("coco", "out/data.yaml")])
def test_tools(tool: str, source: str, photos: Path) -> None:
    convert(read(photos / "VOC"), photos / "out", format="coco")
    script = keys.ROOT / "tools" / f"{tool}_to_darknet.py"
    subprocess.run([sys.executable, str(script), source, "-o", "new"], cwd=photos, check=True)
    assert len(read(photos / "new/data.data")) == 1


def test_five_thousand_label_files(tmp_path: Path) -> None:
    """A second or two of computing."""
    folder = tmp_path / "images"
    write_image(folder / "0.png")
    content = (folder / "0.png").read_bytes()
    rows = "".join(f"{n} 0.5 0.5 0.{n + 1} 0.25\n" for n in range(7))
    for number in range(5000):
        (folder / f"{number}.png").write_bytes(content)
    lay(tmp_path, {f"labels/{number}.txt": rows for number in range(5000)})
    started = time.process_time()
    dataset = read(folder, workers=1)
    seconds = time.process_time() - started
    assert (len(dataset), sum(len(each.ground_truth) for each in dataset.samples)) == (5000, 35_000)
    assert seconds < 10
