"""Files whose graph is another than their metadata say end in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_network import CFG

import darknet_torch as dt
from darknet_torch.errors import DarknetError, UsageError
from darknet_torch.inference.converted import Converted
from darknet_torch.inference.converted_outputs import check_outputs
from darknet_torch.network import Network

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
pytest.importorskip("onnxscript", reason='needs the extra "onnx"')
pytest.importorskip("onnxruntime", reason='needs the extra "onnx"')

pytestmark = pytest.mark.usefixtures("small_folder")


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An ONNX file of the small network, with boxes and scores."""
    path = tmp_path_factory.mktemp("boxes") / "net.onnx"
    dt.export(dt.build(CFG), path, contents="boxes")
    return path.read_bytes()


def zeros(*shape: int, dtype: Any = np.float32) -> Any:
    return np.zeros(shape, dtype)


def row(image: float = 0, class_id: float = 0, score: float = 0.5) -> Any:
    return np.array([[image, 0, 0, 1, 1, score, class_id]], np.float32)


RIGHT = zeros(2, 14, 4, 4)
WRONG: dict[str, tuple[str, list[Any], str]] = {
    "none": ("raw", [], "yields 0 outputs, and its network has 1"),
    "two": ("raw", [RIGHT, RIGHT], "yields 2 outputs"),
    "classes": ("raw", [zeros(2, 21, 4, 4)], "output 0 is 2 x 21 x 4 x 4, not 2 x 4 x 4 x 14"),
    "batch": ("raw", [zeros(1, 14, 4, 4)], "output 0 is 1 x 14"),
    "flat": ("raw", [zeros(2, 224)], "output 0 is 2 x 224"),
    "integers": ("raw", [RIGHT.astype(np.int64)], "yields int64, and floats are expected"),
    "words": ("raw", [np.array(["a"])], "yields <U1"),
    "list": ("raw", [[1.0]], "yields list"),
    "nothing": ("raw", [None], "output 0 is 0 x 7"),
    "boxes alone": ("boxes", [zeros(2, 5, 4)], r"yields \[\(2, 5, 4\)\], not boxes and scores"),
    "fewer scores": ("boxes", [zeros(2, 5, 4), zeros(2, 4, 2)], "not boxes and scores"),
    "three classes": ("boxes", [zeros(2, 5, 4), zeros(2, 5, 3)], "not boxes and scores"),
    "vectors": ("boxes", [zeros(4), zeros(2)], "not boxes and scores"),
    "six columns": ("detections", [zeros(3, 6)], r"not detections \(K, 7\)"),
    "a batch of rows": ("detections", [zeros(2, 3, 7)], r"not detections \(K, 7\)"),
    "class 1e9": ("detections", [row(class_id=1e9)], "a detection of class 1e[+]09 of 2"),
    "class -1": ("detections", [row(class_id=-1)], "of class -1 of 2"),
    "class 0.5": ("detections", [row(class_id=0.5)], "of class 0.5 of 2"),
    "class NaN": ("detections", [row(class_id=np.nan)], "of class nan of 2"),
    "image 2": ("detections", [row(image=2)], "of image 2 of 2"),
    "score NaN": ("detections", [row(score=np.nan)], "whose box or score is NaN"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_outputs(name: str, small_network: Network) -> None:
    contents, outputs, message = WRONG[name]
    with pytest.raises(UsageError, match=message):
        check_outputs(outputs, small_network.plan, contents, 2)  # type: ignore[arg-type]


def test_right_outputs(small_network: Network) -> None:
    plan = small_network.plan
    for contents, outputs in (
        ("raw", [RIGHT]),
        ("boxes", [zeros(2, 5, 4), zeros(2, 5, 2)]),
        ("boxes", [zeros(2, 0, 4), zeros(2, 0, 2)]),
        ("detections", [row(image=1, class_id=1)]),
        ("detections", [None]),
    ):
        tensors = check_outputs(outputs, plan, contents, 2)  # type: ignore[arg-type]
        assert all(isinstance(each, torch.Tensor) for each in tensors)


CHANGES = {
    "cfg": ("", "[net]\n", "[net]\nwidth=-1\n[yolo]\n", "no cfg\n", "\0", "x" * 100_000),
    "dialect": ("", "x", "\x1b[31m"),
    "contents": ("raw", "detections", "x"),
    "dtype": ("float16", "float64", "x"),
    "names": ("", "a", "a\n" * 10_000),
    "header": ("", "1 2", "9" * 5000),
    "input": ("", "7 x 7 x 7"),
    "batch": ("1", "x"),
    "size": ("fixed", "x"),
    "letterbox": ("true", "x"),
    "threshold": ("1e99", "x"),
    "nms_kind": ("x", "greedynms"),
}


@pytest.mark.parametrize("key", CHANGES)
def test_other_metadata(key: str, boxes: bytes) -> None:
    """Whatever it says, the file runs or ends in one line."""
    model = onnx.load_from_string(boxes)
    kept = {each.key: each.value for each in model.metadata_props}
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    for value in CHANGES[key]:
        del model.metadata_props[:]
        for name, text in {**kept, key: value}.items():
            model.metadata_props.add(key=name, value=text)
        onnx.save(model, "other.onnx")
        try:
            loaded = dt.load("other.onnx")
            assert isinstance(loaded, Converted)
            dt.detect(loaded, image)
        except DarknetError as error:
            assert "\n" not in str(error)


def test_the_file_is_named(boxes: bytes) -> None:
    Path("net.onnx").write_bytes(boxes)
    loaded = dt.load("net.onnx")
    assert isinstance(loaded, Converted)
    loaded._run = lambda x: [zeros(1, 5, 4)]
    with pytest.raises(UsageError, match=r"^net\.onnx: yields"):
        loaded(torch.zeros(1, 3, 64, 64))


def test_a_classifier_has_no_boxes(boxes: bytes) -> None:
    classifier = dt.build("[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n[softmax]\n")
    path = Path("net.onnx")
    path.write_bytes(boxes)
    loaded = dt.load(path)
    assert isinstance(loaded, Converted)
    with pytest.raises(UsageError, match="contents boxes: its cfg has no head"):
        Converted(path, classifier.plan, (), "onnxruntime", loaded.origin)
