"""Files in other programs' layouts, read as these read them, give the boxes of `detect`."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from small_kinds import KINDS, small_detector

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.inference.metadata import read_origin
from darknet_torch.network import Network

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
pytest.importorskip("onnxscript", reason='needs the extra "onnx"')
onnxruntime = pytest.importorskip("onnxruntime", reason="runs what was exported")
cv2 = pytest.importorskip("cv2", reason='needs the extra "opencv"')

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

THRESHOLD, OVERLAP, NEAR = 0.15, 0.45, 1e-3
IMAGE = np.random.default_rng(7).integers(0, 256, (64, 64, 3), np.uint8)
Array = Any
Rows = list[tuple[int, float, list[float]]]
"""Class index, score, left, top, right and bottom in pixels."""


@cache
def network_of(kind: str) -> Network:
    return small_detector(kind)


def in_onnxruntime(path: Path, x: Array) -> Array:
    session = onnxruntime.InferenceSession(path)
    (output,) = session.run(None, {session.get_inputs()[0].name: x})
    return output


def in_opencv(path: Path, x: Array) -> Array:
    net = cv2.dnn.readNetFromONNX(str(path))
    net.setInput(x)
    return net.forward()


ENGINES = {"onnxruntime": in_onnxruntime, "opencv": in_opencv}


def as_float(image: Array) -> Array:
    return cv2.dnn.blobFromImage(image, 1 / 255)


def best_of_each(rows: Array) -> tuple[Array, Array]:
    class_id = rows.argmax(axis=1)
    return class_id, rows[np.arange(len(rows)), class_id]


def of_ultralytics(output: Array) -> Rows:
    """How Frigate, ZoneMinder and OpenCV's samples read this layout, as far as we know it.

    One row a box behind a transposition; the best class of each; corners from centre and size; NMS
    of all classes together.
    """
    rows = output[0].T
    class_id, score = best_of_each(rows[:, 4:])
    kept = score > THRESHOLD
    rows, class_id, score = rows[kept], class_id[kept], score[kept]
    corner = rows[:, :2] - rows[:, 2:4] / 2
    boxes = np.hstack((corner, rows[:, 2:4]))
    alive = cv2.dnn.NMSBoxes(boxes.tolist(), score.tolist(), THRESHOLD, OVERLAP)
    corners = np.hstack((corner, corner + rows[:, 2:4]))
    return [(int(class_id[i]), float(score[i]), corners[i].tolist()) for i in alive]


def by_class(corners: Array, score: Array, class_id: Array) -> Rows:
    boxes = np.hstack((corners[:, :2], corners[:, 2:] - corners[:, :2]))
    alive = cv2.dnn.NMSBoxesBatched(
        boxes.tolist(), score.tolist(), class_id.tolist(), THRESHOLD, OVERLAP
    )
    return [(int(class_id[i]), float(score[i]), corners[i].tolist()) for i in alive]


def of_deepstream(output: Array) -> Rows:
    """How DeepStream reads rows, as far as we know it: a threshold, then NMS class by class."""
    rows = output[0][output[0][:, 4] > THRESHOLD]
    return by_class(rows[:, :4], rows[:, 4], rows[:, 5].astype(int))


def detected(network: Network, **options: Any) -> Rows:
    found = dt.detect(network, IMAGE, threshold=THRESHOLD, nms_kind="default", **options)
    return [(d.class_id, d.score, list(d.box)) for d in found]


def expected_of_ultralytics(network: Network) -> Rows:
    return detected(network, nms=OVERLAP, agnostic=True)


def expected_of_deepstream(network: Network) -> Rows:
    """All boxes of `detect`, the best class of each; then NMS."""
    best: dict[tuple[float, ...], tuple[int, float]] = {}
    for class_id, score, box in detected(network, nms=0):
        key = tuple(box)
        if key not in best or score > best[key][1]:
            best[key] = (class_id, score)
    corners, values = np.array(list(best)), list(best.values())
    return by_class(
        corners, np.array([score for _, score in values]), np.array([c for c, _ in values])
    )


CONSUMERS: dict[str, tuple[Callable[[Array], Rows], Callable[[Network], Rows]]] = {
    "ultralytics": (of_ultralytics, expected_of_ultralytics),
    "deepstream": (of_deepstream, expected_of_deepstream),
}


def must_be_alike(these: Rows, those: Rows) -> None:
    """Every box that is clearly above the threshold has one within half a pixel."""
    assert len([row for row in these if row[1] > THRESHOLD + NEAR]) >= 3
    for mine, theirs in ((these, those), (those, these)):
        for class_id, score, box in mine:
            distances = [
                max(abs(a - b) for a, b in zip(box, other, strict=True))
                for each, near, other in theirs
                if each == class_id and abs(near - score) < NEAR
            ]
            assert score < THRESHOLD + NEAR or min(distances, default=9.0) < 0.5


@pytest.mark.parametrize("layout", CONSUMERS)
@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_those_of_detect(kind: str, layout: str, tmp_path: Path) -> None:
    network, path = network_of(kind), tmp_path / "net.onnx"
    dt.export(network, path, layout=layout, opset=17)  # by the exporter that takes less time
    read, expected = CONSUMERS[layout]
    for run in ENGINES.values():
        must_be_alike(read(run(path, as_float(IMAGE))), expected(network))


@pytest.mark.parametrize("layout", CONSUMERS)
def test_our_own_calls_read_the_layouts(layout: str, tmp_path: Path) -> None:
    network, path = network_of("yolov4-tiny"), tmp_path / "net.onnx"
    older = {"opset": 17} if layout == "deepstream" else {"dynamic_size": False}
    dt.export(network, path, layout=layout, **older)
    assert read_origin(path).layout == layout
    report = dt.verify(network, path, images=[IMAGE])
    assert report.good, str(report)
    assert len(report.checks) == 5
    read, expected = CONSUMERS[layout]
    for run in ENGINES.values():
        must_be_alike(read(run(path, as_float(IMAGE))), expected(network))
    converted = dt.load(path)
    if layout == "ultralytics":
        rows = [(d.class_id, d.score, list(d.box)) for d in dt.detect(converted, IMAGE)]
        options = {"threshold": None}
        mine = [(d.class_id, d.score, list(d.box)) for d in dt.detect(network, IMAGE, **options)]
        assert len(rows) == len(mine) > 5
        must_be_alike(rows, mine)
    else:
        boxes, scores = converted(torch.zeros(2, 3, 64, 64))
        assert boxes.shape[2] == 4
        assert ((scores > 0).sum(dim=2) <= 1).all()


def test_a_wrong_file_of_a_layout_is_not_good(tmp_path: Path) -> None:
    """One that yields another arrangement than its metadata say is refused in one line."""
    network, path = network_of("yolov4-tiny"), tmp_path / "net.onnx"
    dt.export(network, path, layout="deepstream", opset=17)
    model = onnx.load(path)
    (layout,) = (each for each in model.metadata_props if each.key == "layout")
    for other, message in (("ultralytics", "not one output"), ("rows", "must be boxes")):
        layout.value = other
        onnx.save(model, path)
        with pytest.raises(dt.DarknetError, match=message):
            dt.detect(dt.load(path), IMAGE)


@pytest.mark.parametrize("options", [{"contents": "raw"}, {"layout": "ultralytics"}])
def test_input_of_bytes(options: dict[str, Any], tmp_path: Path) -> None:
    network, path = network_of("yolov3-tiny"), tmp_path / "net.onnx"
    dt.export(network, path, uint8=True, opset=17, **options)
    session = onnxruntime.InferenceSession(path)
    given = session.get_inputs()[0]
    assert (given.type, given.shape[3]) == ("tensor(uint8)", 3)
    if options.get("layout"):
        must_be_alike(
            of_ultralytics(in_onnxruntime(path, IMAGE[None])), expected_of_ultralytics(network)
        )
    photo = np.random.default_rng(1).integers(0, 256, (40, 90, 3), np.uint8)  # is resized
    report = dt.verify(network, path, images=[photo])
    assert report.good, str(report)


@pytest.mark.parametrize("opset", [11, 12, 13, 15])
@pytest.mark.parametrize("kind", ["yolov3-tiny", "yolov4-csp"])
def test_older_operator_sets(kind: str, opset: int, tmp_path: Path) -> None:
    network, path = network_of(kind), tmp_path / "net.onnx"
    dt.export(network, path, layout="ultralytics", opset=opset)
    model = onnx.load(path)
    assert [each.version for each in model.opset_import if not each.domain] == [opset]
    onnx.checker.check_model(model, full_check=True)
    report = dt.verify(network, path, images=[IMAGE])
    assert report.good, str(report)
    read, expected = CONSUMERS["ultralytics"]
    must_be_alike(read(in_opencv(path, as_float(IMAGE))), expected(network))
    x = np.random.default_rng(2).random((3, 3, 64, 64), np.float32)  # any batch
    one = np.concatenate([in_onnxruntime(path, each[None]) for each in x])
    assert np.allclose(in_onnxruntime(path, x), one, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "darknet"}, "layout=darknet: must be boxes.scores, ultralytics, deepstream"),
        ({"layout": "ultralytics", "contents": "raw"}, "layout: is for contents=boxes, not raw"),
        ({"program": "opencv"}, "program=opencv: must be frigate, zoneminder, deepstream"),
        ({"program": "frigate", "layout": "deepstream"}, "program=frigate needs ultralytics"),
        ({"program": "frigate", "dynamic_size": True}, "program=frigate needs False"),
        ({"program": "deepstream", "uint8": True}, "takes no file whose input is uint8"),
        ({"opset": 10}, "opset=10: must be at least 11"),
        ({"opset": 17, "dynamic_size": True}, "dynamic_size: needs opset 18 or more, not 17"),
        ({"opset": 17, "nms": True}, "contents=detections: needs opset 18 or more"),
        ({"int8": "images", "uint8": True}, "int8: has boxes and scores"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        dt.export(network_of("yolov2"), tmp_path / "net.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_programs_need_names(tmp_path: Path) -> None:
    network = small_detector("yolov2")
    network.names = ()
    with pytest.raises(UsageError, match="needs the 3 class names, and there are 0"):
        dt.export(network, tmp_path / "net.onnx", program="frigate")


def test_configurations_of_programs(tmp_path: Path) -> None:
    network, path = network_of("yolov4-tiny"), tmp_path / "net.onnx"
    for program, layout in (("zoneminder", "ultralytics"), ("deepstream", "deepstream")):
        dt.export(network, path, program=program, opset=17)
        assert read_origin(path).layout == layout
        assert not read_origin(path).dynamic_size
    assert (tmp_path / "net.labels.txt").read_text() == "cat\ndog\ntraffic light\n"
    dt.export(network, path, program="frigate", uint8=True, opset=17)
    frigate = yaml.safe_load((tmp_path / "net.frigate.yaml").read_text())["model"]
    assert (frigate["width"], frigate["height"]) == network.input_size
    assert (frigate["input_tensor"], frigate["input_dtype"]) == ("nhwc", "int")
    assert frigate["model_type"] == "yolo-generic"
    zoneminder = yaml.safe_load((tmp_path / "net.zoneminder.yaml").read_text())
    (sequence,) = zoneminder["object"]["sequence"]
    assert sequence["object_weights"].endswith("/net.onnx")
    assert sequence["object_labels"].endswith("/net.labels.txt")
    deepstream = (tmp_path / "net.deepstream.txt").read_text().splitlines()
    for line in ("onnx-file=net.onnx", "num-detected-classes=3", "infer-dims=3;64;64"):
        assert line in deepstream
