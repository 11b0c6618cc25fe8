"""The record that files carry of their network: written and read alike, older files too."""

from dataclasses import replace

import pytest

import darknet_torch as dt
from darknet_torch.errors import WeightsError
from darknet_torch.network import Header
from darknet_torch.network.origin import KEYS, Origin

CFG = """[net]
width=32
height=64
channels=3
letter_box=1
[convolutional]
filters=7
activation=linear
[yolo]
classes=2
num=1
anchors=10,20
"""


@pytest.fixture
def network() -> dt.Network:
    network = dt.build(CFG, mode="darknet")
    network.names = ("große Ente", "x=1")
    network.header = Header(0, 2, 5, 32013312)
    return network


def test_there_and_back(network: dt.Network) -> None:
    origin = Origin.of(
        network,
        contents="detections",
        dtype="float16",
        dynamic_batch=False,
        dynamic_size=False,
        threshold=0.25,
        nms=0.45,
        nms_kind="greedynms",
    )
    text = origin.to_text()
    assert all(isinstance(value, str) for value in text.values())
    assert set(KEYS) <= set(text)
    assert Origin.from_text(text, "x.onnx") == origin
    assert origin.has_cfg


def test_what_it_says(network: dt.Network) -> None:
    origin = Origin.of(network)
    assert (origin.dialect, origin.mode, origin.letterbox) == ("alexeyab", "darknet", True)
    assert (origin.input, origin.dynamic_size) == ("32 x 64 x 3", True)
    assert dt.plan(origin.cfg, mode=origin.mode).text == network.plan.text
    text = origin.to_text()
    assert "threshold" not in text
    assert (text["names"], text["header"]) == ("große Ente\nx=1", "0 2 5 32013312")
    people = {key: text[key] for key in ("producer", "classes", "stride", "heads", "anchors")}
    assert people == {
        "producer": f"darknet_torch {dt.__version__}",
        "classes": "2",
        "stride": "1 x 1",
        "heads": "1 yolo",
        "anchors": "10,20",
    }


def test_a_layer_that_fixes_the_size() -> None:
    network = dt.build("[net]\nwidth=8\nheight=8\nchannels=1\n[connected]\noutput=2\n")
    assert Origin.of(network).dynamic_size is False


def test_files_of_older_versions(network: dt.Network) -> None:
    """ONNX had neither mode nor header; .pt had lists, and no more than six keys."""
    new = Origin.of(network).to_text()
    onnx = {key: value for key, value in new.items() if key not in ("mode", "header")}
    origin = Origin.from_text(onnx, "x.onnx")
    assert (origin.mode, origin.header) == ("normal", Header())
    assert origin.names == network.names
    old = {
        "state_dict": {},
        "cfg": CFG,
        "dialect": "pjreddie",
        "mode": "darknet",
        "names": ["a", "b"],
        "header": [0, 1, 0, 7],
    }
    origin = Origin.from_text(old, "x.pt")
    assert (origin.cfg, origin.dialect, origin.mode) == (CFG, "pjreddie", "darknet")
    assert (origin.names, origin.header) == (("a", "b"), Header(0, 1, 0, 7))
    assert (origin.contents, origin.dynamic_batch, origin.letterbox) == ("raw", True, None)


@pytest.mark.parametrize(
    "text", [{}, {"names": {0: "a"}, "stride": "[32]"}, {"cfg": CFG}, {"dialect": "pjreddie"}]
)
def test_files_of_others_are_left_alone(text: dict[str, object]) -> None:
    origin = Origin.from_text(text, "x.onnx")
    assert origin == Origin()
    assert not origin.has_cfg


def test_a_cfg_of_one_line_is_no_path() -> None:
    assert Origin.from_text({"cfg": "/etc/passwd", "dialect": "x"}, "x").cfg == "/etc/passwd\n"


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("contents", "pictures", "contents 'pictures': must be raw, boxes, detections"),
        ("contents", ["raw"], "contents ['raw']: must be raw"),
        ("dtype", "int3", "dtype 'int3': must be float32, float16, bfloat16"),
        ("threshold", "nan", "threshold 'nan': must be from 0 to 1"),
        ("threshold", "1.5", "threshold '1.5': must be from 0 to 1"),
        ("nms", "-1", "nms '-1': must be from 0 to 1"),
        ("nms", 0.45, "nms 0.45: must be from 0 to 1"),
        ("names", {"0": "a"}, "names: must be a list of words"),
        ("header", "0 2", "header '0 2': must be major, minor, revision and seen"),
    ],
)
def test_wrong_values(key: str, value: object, error: str, network: dt.Network) -> None:
    with pytest.raises(WeightsError) as caught:
        Origin.from_text({**Origin.of(network).to_text(), key: value}, "x.onnx")
    assert str(caught.value).startswith(f"x.onnx: {error}")


@pytest.mark.parametrize("share", [0.0, 1.0, 0.25, 0.005, 1e-05, 0.1 + 0.2])
def test_shares_come_back(share: float, network: dt.Network) -> None:
    origin = replace(Origin.of(network, contents="detections"), threshold=share, nms=share)
    again = Origin.from_text(origin.to_text(), "x.onnx")
    assert (again.threshold, again.nms) == (share, share)


def test_bytes_that_are_no_text(network: dt.Network) -> None:
    """No format has a place for them."""
    network.names = ("a\udcff", "b\nc")
    assert Origin.of(network).to_text()["names"] == "a\\xff\nb\\nc"
