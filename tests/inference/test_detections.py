"""Detections: checked at birth, indexed like an array, written as text for other programs."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_torch.data.coco_classes import COCO_CATEGORY_IDS
from darknet_torch.errors import UsageError
from darknet_torch.inference.detections import Detection, Detections

NAMES = ("bicycle", "dog", "truck")
BOXES = [[131.0, 219.0, 310.0, 541.0], [473.0, 86.0, 695.0, 170.0], [-20.0, 125.5, 570.0, 600.0]]


def sample(**changed):
    values = {
        "xyxy": torch.tensor(BOXES),
        "score": torch.tensor([0.84, 0.78, 0.6]),
        "class_id": torch.tensor([1, 2, 0]),
        "names": NAMES,
        "width": 768,
        "height": 576,
        "path": "some/dog.jpg",
    }
    return Detections(**{**values, **changed})


def coco(class_id):
    names = ("person", *(f"class {i}" for i in range(1, 79)), "toothbrush")
    one = torch.tensor([class_id])
    return Detections(torch.tensor([[1.0, 2, 4, 8]]), torch.ones(1), one, names, 10, 10)


# ---- birth


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"xyxy": torch.zeros(3, 5)}, "xyxy"),
        ({"xyxy": torch.zeros(12)}, "xyxy"),
        ({"xyxy": torch.tensor(1.0)}, "xyxy"),
        ({"score": torch.zeros(2)}, "score"),
        ({"score": torch.zeros(3, 1)}, "score"),
        ({"class_id": torch.zeros(4, dtype=torch.int64)}, "class_id"),
        ({"class_id": torch.zeros(3)}, "integers"),
        ({"class_id": torch.tensor([0, -1, 0])}, "-1"),
        ({"score": torch.tensor([0.1, float("nan"), 0.1])}, "not a number"),
        ({"xyxy": torch.full((3, 4), float("inf"))}, "infinite"),
        ({"width": 0}, "0x576"),
    ],
)
def test_wrong_at_birth(changed, message):
    with pytest.raises(UsageError, match=message):
        sample(**changed)


def test_types_at_birth():
    d = sample(
        xyxy=torch.zeros(3, 4).double(), score=torch.zeros(3).half(), class_id=torch.ones(3).int()
    )
    assert (d.xyxy.dtype, d.score.dtype) == (torch.float32, torch.float32)
    assert d.class_id.dtype == torch.int64
    with pytest.raises(AttributeError):
        d.width = 3


def test_empty():
    d = Detections.empty(NAMES, 10, 20)
    assert len(d) == 0
    assert str(d) == "Detections(0)"
    assert list(d) == []
    assert d.to_yolo() == ""
    assert d.to_coco(1) == []
    assert len(d.sort().clip().filter("dog")) == 0
    assert len(d.table().splitlines()) == 1


# ---- like a sequence


def test_text():
    assert str(sample()) == repr(sample()) == "Detections(3): dog 0.84, truck 0.78, bicycle 0.60"
    many = sample()[[0] * 11]
    assert str(many).endswith("dog 0.84, ...")
    assert sample().table().splitlines() == [
        "class    score   left    top  right  bottom",
        "dog       0.84    131    219    310     541",
        "truck     0.78    473     86    695     170",
        "bicycle   0.60    -20    126    570     600",
    ]


@pytest.mark.parametrize(
    "index, expected",
    [
        (1, [2]),
        (-1, [0]),
        (slice(1, None), [2, 0]),
        (slice(0, 0), []),
        ([2, 0], [0, 1]),
        ([], []),
        ([True, False, True], [1, 0]),
        (torch.tensor([False, True, False]), [2]),
        (torch.tensor([2, 2]), [0, 0]),
        (torch.tensor(2), [0]),
        (np.array([1, 0]), [2, 1]),
        (np.int64(1), [2]),
    ],
)
def test_index(index, expected):
    picked = sample()[index]
    assert picked.class_id.tolist() == expected
    assert len(picked) == len(picked.xyxy) == len(picked.score) == len(expected)
    assert (picked.names, picked.width, picked.path) == (NAMES, 768, "some/dog.jpg")


def test_index_out_of_range():
    with pytest.raises(IndexError):
        sample()[3]


def test_records():
    dog, _, _ = sample()
    assert dog == Detection((131, 219, 310, 541), pytest.approx(0.84), 1, "dog")


def test_a_class_without_a_name_shows_its_number():
    assert [d.name for d in sample(class_id=torch.tensor([0, 2, 3]))] == ["bicycle", "truck", "3"]


# ---- changed copies


def test_filter():
    d = sample()
    assert str(d[d.score > 0.7]) == "Detections(2): dog 0.84, truck 0.78"
    assert str(d.filter(threshold=0.8)) == "Detections(1): dog 0.84"
    assert len(d.filter(threshold=float(d.score[0]))) == 0  # strictly above, as in Darknet
    assert str(d.filter("dog")) == str(d.filter(1)) == "Detections(1): dog 0.84"
    assert str(d.filter(["truck", 0], 0.7)) == "Detections(1): truck 0.78"
    assert len(d.filter([])) == 0
    assert len(sample(score=torch.zeros(3)).filter()) == 3
    with pytest.raises(UsageError, match="dgo: no such class; did you mean dog"):
        d.filter("dgo")


def test_sort_keeps_the_order_of_equals():
    d = sample()[[0, 1, 2] * 50]
    assert d.sort().class_id.tolist() == [1] * 50 + [2] * 50 + [0] * 50
    equal = Detections(d.xyxy, torch.ones(150), torch.arange(150), NAMES, 768, 576)
    assert equal.sort().class_id.tolist() == list(range(150))


def test_clip():
    d = sample()
    assert d.xyxy[2].tolist() == BOXES[2]
    assert d.clip().xyxy[2].tolist() == [0, 125.5, 570, 576]
    assert torch.equal(d.clip().xyxy[:2], d.xyxy[:2])


# ---- as text


def test_json():
    values = json.loads(sample().to_json())
    assert values == sample().to_dict()
    assert (values["path"], values["width"], values["height"]) == ("some/dog.jpg", 768, 576)
    dog = {"class": "dog", "class_id": 1, "score": 0.84, "box": BOXES[0]}
    assert values["detections"][0] == dog
    assert "0.84," in sample().to_json()


def test_coco():
    assert sample().to_coco(7)[0] == {
        "image_id": 7,
        "category_id": 1,
        "bbox": [131, 219, 179, 322],
        "score": 0.84,
    }
    ids = [row["category_id"] for row in sample().to_coco(7, {0: 5, 1: 6, 2: 7})]
    assert ids == [6, 7, 5]
    with pytest.raises(UsageError, match="class 2"):
        sample().to_coco(7, [5, 6])


@pytest.mark.parametrize("class_id, category", [(0, 1), (11, 13), (16, 18), (79, 90)])
def test_coco_numbers_its_classes_with_holes(class_id, category):
    assert len(COCO_CATEGORY_IDS) == 80
    assert coco(class_id).to_coco(1)[0]["category_id"] == category


def test_yolo_goes_there_and_back():
    lines = sample().to_yolo(score=True).splitlines()
    assert len(lines) == 3
    class_id, *numbers = (float(v) for v in lines[1].split())
    x, y, w, h, score = numbers
    assert (class_id, score) == (2, pytest.approx(0.78))
    corners = [(x - w / 2) * 768, (y - h / 2) * 576, (x + w / 2) * 768, (y + h / 2) * 576]
    assert corners == pytest.approx(BOXES[1], abs=1e-3)
    assert sample().to_yolo().splitlines()[1] == lines[1].rsplit(" ", 1)[0]


def test_voc():
    d = sample(names=('a <b> & "c"', "dog", "truck"))
    root = ElementTree.fromstring(d.to_voc())
    assert root.findtext("filename") == "dog.jpg"
    assert [int(v.text) for v in root.find("size")] == [768, 576, 3]
    assert [o.findtext("name") for o in root.iter("object")] == ["dog", "truck", 'a <b> & "c"']
    boxes = [[int(v.text) for v in box] for box in root.iter("bndbox")]
    assert boxes[0] == [132, 220, 311, 542]  # counted from 1
    assert boxes[2] == [1, 127, 571, 576]
    assert [v.tag for v in root.find("object/bndbox")] == ["xmin", "ymin", "xmax", "ymax"]


def test_supervision(monkeypatch):
    supervision = pytest.importorskip("supervision")
    d = sample().to_supervision()
    assert isinstance(d, supervision.Detections)
    assert d.data["class_name"].tolist() == ["dog", "truck", "bicycle"]
    np.testing.assert_array_equal(d.xyxy, BOXES)


def test_supervision_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "supervision", None)
    with pytest.raises(UsageError, match="pip install supervision"):
        sample().to_supervision()


def test_draw_takes_an_image_or_the_path(tmp_path):
    path = tmp_path / "grey.png"
    Image.new("RGB", (768, 576), "grey").save(path)
    by_path = sample(path=str(path)).draw()
    assert by_path.tobytes() == sample().draw(path).tobytes()
    with pytest.raises(UsageError, match="which image"):
        sample(path=None).draw()
