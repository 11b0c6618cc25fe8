"""What `detect --save` writes in other people's formats, read by independent readers."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from darknet_torch import data
from darknet_torch.cli import main
from darknet_torch.cli.common_files import CommonFiles
from darknet_torch.inference.detections import Detections

DETECT = ["detect", "net.cfg", "net.weights", "--threshold", "0.2", "--names", "net.names"]


@pytest.fixture(autouse=True)
def photos(small_network, tmp_path: Path) -> Path:
    """The small network's folder, with two images in a folder of it."""
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for name, (width, height) in (("a.png", (50, 40)), ("b.jpg", (40, 60))):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def printed(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_files_for_all_images(capsys) -> None:
    words = [*DETECT, "photos", "--json", "--save", "coco,csv,jsonl", "--out", "out"]
    assert main(words) == 0
    expected = printed(capsys)
    objects = [(each["path"], d) for each in expected for d in each["detections"]]
    assert len(objects) > 5
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *("detections.coco.json", "detections.csv", "detections.jsonl")
    ]
    lines = Path("out/detections.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == expected
    with Path("out/detections.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["class"], float(row["score"])) for row in rows] == [
        (path, d["class"], d["score"]) for path, d in objects
    ]
    assert [[float(row[side]) for side in ("left", "bottom")] for row in rows] == [
        [d["box"][0], d["box"][3]] for _, d in objects
    ]
    coco = COCO("out/detections.coco.json")
    assert [image["file_name"] for image in coco.imgs.values()] == ["photos/a.png", "photos/b.jpg"]
    rows = list(coco.anns.values())
    names = [coco.cats[row["category_id"]]["name"] for row in rows]
    assert names == [d["class"] for _, d in objects]
    assert [coco.imgs[row["image_id"]]["file_name"] for row in rows] == [p for p, _ in objects]
    left, top, right, bottom = objects[0][1]["box"]
    assert rows[0]["bbox"] == pytest.approx([left, top, right - left, bottom - top], rel=1e-5)


@pytest.mark.parametrize("count", [0, 2])
def test_without_detections(count: int, tmp_path: Path) -> None:
    files = CommonFiles(tmp_path, {"coco", "csv", "jsonl"}, ("ant", "=1+1"), ".3")
    for number in range(count):
        files.write(Detections.empty(("ant", "=1+1"), 4, 3, f"{number}.png"))
    files.close()
    coco = json.loads((tmp_path / "detections.3.coco.json").read_text())
    assert [each["name"] for each in coco["categories"]] == ["ant", "=1+1"]
    assert (len(coco["images"]), coco["annotations"]) == (count, [])
    head = "path,class,class_id,score,left,top,right,bottom\n"
    assert (tmp_path / "detections.3.csv").read_text() == head
    assert len((tmp_path / "detections.3.jsonl").read_text().splitlines()) == count


def test_what_was_done_before_ctrl_c_is_complete(monkeypatch, capsys) -> None:
    write, done = CommonFiles.write, []

    def interrupted(self, detections):
        if done:
            raise KeyboardInterrupt
        done.append(detections)
        write(self, detections)

    monkeypatch.setattr(CommonFiles, "write", interrupted)
    assert main([*DETECT, "photos", "--save", "coco,jsonl", "--out", "out"]) == 130
    assert len(COCO("out/detections.coco.json").imgs) == 1
    assert len(Path("out/detections.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("kind", ["coco", "csv", "jsonl"])
def test_files_for_all_images_cannot_be_continued(kind: str, capsys) -> None:
    assert main([*DETECT, "photos", "--save", f"txt,{kind}", "--skip-existing"]) == 2
    assert f"--save {kind} is one file of all images" in capsys.readouterr().err


def test_labelme(capsys) -> None:
    assert main([*DETECT, "photos", "--json", "--save", "labelme", "--out", "out"]) == 0
    expected = printed(capsys)[0]
    path = Path("out/labelme/a.json")
    content = json.loads(path.read_text())
    assert (path.parent / content["imagePath"]).samefile("photos/a.png")
    assert (content["imageWidth"], content["imageHeight"]) == (50, 40)
    assert [(s["label"], s["score"]) for s in content["shapes"]] == [
        (d["class"], d["score"]) for d in expected["detections"]
    ]
    for shape in content["shapes"]:
        (left, top), (right, bottom) = shape["points"]
        assert 0 <= left <= right <= 50
        assert 0 <= top <= bottom <= 40
    words = [*DETECT, "photos", "--save", "labelme", "--out", "out", "--skip-existing"]
    assert main(words) == 0
    assert "2 images skipped" in capsys.readouterr().err


def test_a_labelled_data_set(capsys) -> None:
    """It is read by this package from both descriptions, and evaluated without a fault."""
    words = [*DETECT, "photos", "--json", "--save", "dataset", "--out", "new"]
    assert main(words) == 0
    expected = {Path(each["path"]).name: each["detections"] for each in printed(capsys)}
    for name in ("new/data.data", "new/data.yaml", "new/train.txt"):
        dataset = data.read(name, names="new/data.names")
        assert [sample.path.name for sample in dataset.samples] == ["a.png", "b.jpg"]
        assert not dataset.faults
        for sample in dataset.samples:
            classes = [d["class_id"] for d in expected[sample.path.name]]
            assert sample.ground_truth.class_id.tolist() == classes
    assert Path("new/images/a.png").read_bytes() == Path("photos/a.png").read_bytes()
    # Ultralytics: folders beside the description, labels where images is labels
    content = yaml.safe_load(Path("new/data.yaml").read_text())
    assert (content["train"], content["val"], content["names"]) == (
        "images",
        "images",
        ["ant", "bee"],
    )
    assert main(["evaluate", "net.cfg", "net.weights", "new/data.yaml", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["darknet"]["mAP"] > 0.9
    assert main([*words, "--skip-existing"]) == 0
    assert "2 images skipped" in capsys.readouterr().err
    assert main([*DETECT, "new/images", "--save", "dataset", "--out", "new"]) == 2
    assert "would overwrite the image" in capsys.readouterr().err


def test_heat_maps_are_written(capsys) -> None:
    assert main([*DETECT, "photos", "--save", "heatmap", "--out", "out"]) == 0
    with Image.open("out/a-heatmap.jpg") as image:
        assert image.size == (50, 40)
    assert main([*DETECT, "photos", "--save", "heatmap", "--out", "out", "--skip-existing"]) == 0
    assert "2 images skipped" in capsys.readouterr().err
