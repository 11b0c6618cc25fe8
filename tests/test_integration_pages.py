"""Programs of docs/integrations that need what cannot be installed here, with stand-ins for it.

The stand-ins have the names and fields of the real packages' documentation, and no others.
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

import darknet_torch as dt
from darknet_torch.network import Network

PAGES = Path(__file__).resolve().parents[1] / "docs" / "integrations"
IMAGE = np.random.default_rng(3).integers(0, 256, (30, 40, 3), np.uint8)


def block(page: str, text: str) -> str:
    """The block of a page that has a text in it."""
    blocks = re.findall(r"```python not-run\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
    (found,) = (each for each in blocks if text in each)
    return found


def installed(monkeypatch: pytest.MonkeyPatch, **modules: dict[str, Any]) -> None:
    """Put modules in place of packages; `a__b` is `a.b`."""
    for name, values in modules.items():
        module = ModuleType(name.replace("__", "."))
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, module.__name__, module)


# ---- FiftyOne


@dataclass
class Label:
    label: str
    bounding_box: list[float]
    confidence: float


@dataclass
class Labels:
    detections: list[Label]


def test_fiftyone(small_network: Network) -> None:
    text = block("fiftyone.md", "def to_fiftyone")
    names: dict[str, Any] = {"fo": SimpleNamespace(Detection=Label, Detections=Labels)}
    exec(text[text.index("def to_fiftyone") : text.index("dataset =")], names)
    found = dt.detect(small_network, IMAGE, threshold=0.1)
    assert isinstance(found, dt.Detections)
    labels = names["to_fiftyone"](found).detections
    assert [each.label for each in labels] == [d.name for d in found]
    assert [each.confidence for each in labels] == [d.score for d in found]
    assert len(labels) > 1
    for each, d in zip(labels, found.clip(), strict=True):
        left, top, width, height = np.array(each.bounding_box) * (40, 30, 40, 30)
        np.testing.assert_allclose((left, top, left + width, top + height), d.box, atol=1e-4)


# ---- ROS 2


@dataclass
class Point:
    x: float = 0.0
    y: float = 0.0


@dataclass
class Center:
    position: Point = field(default_factory=Point)
    theta: float = 0.0


@dataclass
class BoundingBox2D:
    center: Center = field(default_factory=Center)
    size_x: float = 0.0
    size_y: float = 0.0


@dataclass(slots=True)
class Hypothesis:
    class_id: str = ""
    score: float = 0.0


@dataclass
class ObjectHypothesisWithPose:
    hypothesis: Hypothesis = field(default_factory=Hypothesis)


@dataclass
class Detection2D:
    header: Any = None
    results: list[ObjectHypothesisWithPose] = field(default_factory=list)
    bbox: BoundingBox2D = field(default_factory=BoundingBox2D)


@dataclass
class Detection2DArray:
    header: Any = None
    detections: list[Detection2D] = field(default_factory=list)


class Node:
    """rclpy's node, as far as the page uses it."""

    parameters: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str) -> None:
        self.published: list[Any] = []

    def declare_parameter(self, name: str, value: Any) -> Any:
        return SimpleNamespace(value=self.parameters.get(name, value))

    def create_publisher(self, kind: type, topic: str, depth: int) -> Any:
        assert (kind, topic) == (Detection2DArray, "detections")
        return SimpleNamespace(publish=self.published.append)

    def create_subscription(self, kind: Any, topic: str, callback: Any, profile: Any) -> None:
        assert topic == "image"


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page's block defines."""
    messages = {each.__name__: each for each in (Detection2D, Detection2DArray)}
    messages["ObjectHypothesisWithPose"] = ObjectHypothesisWithPose
    installed(
        monkeypatch,
        rclpy={},
        rclpy__node={"Node": Node},
        rclpy__qos={"qos_profile_sensor_data": object()},
        sensor_msgs={},
        sensor_msgs__msg={"Image": object},
        vision_msgs={},
        vision_msgs__msg=messages,
    )
    names: dict[str, Any] = {"__name__": "detector_node"}
    exec(block("ros2.md", "rclpy.spin"), names)
    return names


def image_message(encoding: str, padding: int = 0) -> Any:
    pixels = IMAGE if encoding == "rgb8" else IMAGE[..., ::-1]
    rows = np.pad(pixels.reshape(30, 120), ((0, 0), (0, padding)))
    return SimpleNamespace(
        encoding=encoding,
        width=40,
        height=30,
        step=120 + padding,
        data=rows.tobytes(),
        header="header",
    )


@pytest.mark.parametrize(("encoding", "padding"), [("rgb8", 0), ("bgr8", 8)])
def test_ros_node(
    ros: dict[str, Any],
    small_network: Network,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    encoding: str,
    padding: int,
) -> None:
    dt.save(small_network, tmp_path / "a.weights")
    (tmp_path / "a.cfg").write_text(small_network.plan.text)
    (tmp_path / "a.names").write_text("\n".join(small_network.names))
    files = {"cfg": str(tmp_path / "a.cfg"), "weights": str(tmp_path / "a.weights")}
    monkeypatch.setattr(Node, "parameters", {**files, "threshold": 0.1})
    node = ros["Detector"]()
    node.on_image(image_message(encoding, padding))
    (message,) = node.published
    expected = dt.detect(small_network, IMAGE, threshold=0.1)
    assert isinstance(expected, dt.Detections)
    assert message.header == "header"
    assert len(message.detections) == len(expected) > 1
    for item, d in zip(message.detections, expected, strict=True):
        (result,) = item.results
        assert result.hypothesis.class_id == d.name
        assert result.hypothesis.score == pytest.approx(d.score, abs=1e-4)
        x, y, w, h = item.bbox.center.position.x, item.bbox.center.position.y, *sizes(item)
        box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        np.testing.assert_allclose(box, d.box, atol=0.01)


def sizes(item: Detection2D) -> tuple[float, float]:
    return item.bbox.size_x, item.bbox.size_y


def test_ros_refuses_other_encodings(ros: dict[str, Any]) -> None:
    message = SimpleNamespace(encoding="mono16")
    with pytest.raises(ValueError, match="encoding mono16: must be rgb8 or bgr8"):
        ros["to_array"](message)
