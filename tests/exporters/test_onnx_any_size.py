"""Files that take images of any size give the boxes of `detect`, in pixels of these images."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_kinds import small_detector

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.inference.metadata import read_origin
from darknet_torch.network import Network

pytest.importorskip("onnx", reason='needs the extra "onnx"')
pytest.importorskip("onnxscript", reason='needs the extra "onnx"')
onnxruntime = pytest.importorskip("onnxruntime", reason="runs what was exported")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

THRESHOLD = 0.15
SIZES = [(64, 64), (40, 90), (123, 57), (448, 448), (1, 300), (300, 1), (90, 2)]
"""Height and width: the input's, wide, high, those where Darknet's last row is black, and thin."""
Rows = list[tuple[int, float, Any]]


@cache
def network() -> Network:
    return small_detector("yolov3-tiny")


def photo(height: int, width: int) -> Any:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def rows_of(session: Any, image: Any) -> Rows:
    outputs = session.run(None, {"images": image[None]})
    if len(outputs) == 1:
        return [(int(row[6]), float(row[5]), row[1:5]) for row in outputs[0]]
    boxes, scores = outputs
    places = np.argwhere(scores[0] > THRESHOLD)
    return [(int(c), float(scores[0][n, c]), boxes[0][n]) for n, c in places]


@pytest.mark.parametrize(
    ("how", "contents"),
    [("letterbox", "boxes"), ("stretch", "boxes"), ("letterbox", "detections")],
)
def test_boxes_are_those_of_detect(how: Any, contents: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"opset": 17} if contents == "boxes" else {"threshold": THRESHOLD}
    path = tmp_path / "net.onnx"
    dt.export(network(), path, contents=contents, any_size=how, **options)
    session = onnxruntime.InferenceSession(path)
    given = session.get_inputs()[0]
    assert (given.type, given.shape[1:]) == ("tensor(uint8)", ["height", "width", 3])
    for size in SIZES:
        image = photo(*size)
        found = rows_of(session, image)
        nms = 0.45 if contents == "detections" else 0
        expected = dt.detect(
            network(), image, threshold=THRESHOLD, letterbox=how == "letterbox", nms=nms
        )
        assert isinstance(expected, dt.Detections)
        assert len(found) == len(expected) > 10
        for d in expected:
            near = [
                box for c, score, box in found if c == d.class_id and abs(score - d.score) < 1e-4
            ]
            assert min(np.abs(np.array(d.box) - box).max() for box in near) < 0.01
    our_own_calls_read(path, how, contents)


def our_own_calls_read(path: Path, how: str, contents: str) -> None:
    """`load`, `detect` and `verify` give the file images of the input's size."""
    image = photo(123, 57)
    assert read_origin(path).images == f"uint8-{how}"
    report = dt.verify(network(), path, images=[image])
    assert report.good, str(report)
    found = dt.detect(dt.load(path), image, threshold=None if contents == "detections" else 0.3)
    rows = rows_of(onnxruntime.InferenceSession(path), image)
    assert isinstance(found, dt.Detections)
    best = max(rows, key=lambda row: row[1])  # our own reader rounds what it has resized
    assert found.score.max().item() == pytest.approx(best[1], abs=0.02)
    assert np.abs(found.xyxy[0].numpy() - best[2]).max() < 3


def test_any_batch(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    dt.export(network(), path, opset=17, any_size="letterbox")  # boxes
    session = onnxruntime.InferenceSession(path)
    images = np.stack([photo(40, 90), photo(40, 90)[::-1]])
    both = session.run(None, {"images": images})
    for number, image in enumerate(images):
        for one, all_ in zip(session.run(None, {"images": image[None]}), both, strict=True):
            assert np.allclose(one[0], all_[number], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contents": "raw"}, "any_size: is for contents=boxes or detections, not contents=raw"),
        ({"layout": "deepstream"}, "boxes or detections, not layout=deepstream"),
        ({"contents": "boxes", "opset": 12}, "any_size: needs opset 13 or more, not 12"),
        ({"contents": "boxes", "dynamic_size": True}, "any_size: .* no dynamic_size"),
        ({"program": "frigate"}, "program=frigate: resizes images itself"),
        ({"contents": "boxes", "int8": "x"}, "int8: .* float32 input"),
        ({"contents": "boxes", "any_size": "crop"}, "any_size=crop: must be letterbox or stretch"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        dt.export(network(), tmp_path / "net.onnx", **{"any_size": "letterbox", **options})
