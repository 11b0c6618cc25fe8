"""ONNX files: the network's numbers in ONNX Runtime, OpenVINO and OpenCV, with NMS inside."""

from pathlib import Path
from typing import Any

import keys
import numpy as np
import pytest
import torch
from keys import relative_error
from torch import Tensor

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.exporters.tracing import prepared
from darknet_torch.heads.nms import non_maximum_suppression as nms
from darknet_torch.inference.converted import Converted
from darknet_torch.inference.engines import installed
from darknet_torch.network import Network

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
pytest.importorskip("onnxscript", reason='needs the extra "onnx"')
onnxruntime = pytest.importorskip("onnxruntime", reason="runs what was exported")

from darknet_torch.exporters import onnx as exporter  # noqa: E402
from darknet_torch.exporters.onnx_nms import with_nms  # noqa: E402
from darknet_torch.inference import metadata  # noqa: E402 (after what may skip)

pytestmark = [
    pytest.mark.filterwarnings("ignore::darknet_torch.errors.DarknetWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("word_trees"),
]
MODELS = keys.SHARED / "models"
ENGINES = ("onnxruntime", "openvino", "opencv")
HEADS = (
    *("yolo.alexeyab", "yolo_new_coords.alexeyab", "gaussian_yolo.alexeyab"),
    *("region_softmax.pjreddie", "region_tree.pjreddie", "region_tree.alexeyab"),
    *("detection_softmax0_sqrt1.pjreddie",),
)
LAYERS = (
    *("reorg.pjreddie", "route_groups.alexeyab", "maxpool_odd.alexeyab", "crop.pjreddie"),
    *("local.pjreddie", "deconv.pjreddie", "act_mish.alexeyab", "conv_xnor_c32.alexeyab"),
    *("shortcut_w_per_channel_softmax.alexeyab", "normalization_lrn.pjreddie"),
    "connected.pjreddie",
)
needs_shared = pytest.mark.skipif(not MODELS.is_dir(), reason=f"{keys.SHARED} is not there")


@pytest.fixture
def word_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cfgs find the trees and maps that they name."""
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(keys.NAMES if keys.NAMES.is_dir() else "."))


def mini(name: str, folder: Path) -> Network:
    key = keys.mini(name)
    key.write_weights(folder / "w")
    return key.load(folder / "w")


def real(name: str, **options: Any) -> Network:
    (cfg,), (weights,) = (list((MODELS / name).glob(f"*.{end}")) for end in ("cfg", "weights"))
    return dt.load(cfg, weights, **options)


def random_images(network: Network, batch: int, more: int = 0) -> Tensor:
    shape, (rows, columns) = network.plan.input, network.plan.stride
    sides = () if shape.is_vector else (shape.h + more * rows, shape.w + more * columns)
    return torch.rand(batch, shape.c, *sides, generator=torch.Generator().manual_seed(batch))


def opened(network: Network, path: Path, engine: str = "onnxruntime") -> Converted:
    return Converted(path, network.plan, network.names, engine, metadata.read_origin(path))


@torch.no_grad()
def worst(run: Converted, network: Network, x: Tensor) -> float:
    """Largest relative error of any output, against the network itself."""
    plain = prepared(network, run.contents)
    got, want = (each if isinstance(each, tuple) else (each,) for each in (run(x), plain(x)))
    return max(relative_error(a.numpy(), b.numpy()) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("name", LAYERS)
def test_raw_outputs(name: str, tmp_path: Path) -> None:
    network = mini(name, tmp_path)
    dt.export(network, tmp_path / "net.onnx")
    run = opened(network, tmp_path / "net.onnx")
    for batch in (1, 3):
        assert worst(run, network, random_images(network, batch)) < 5e-5
    if run.origin.dynamic_size:
        assert worst(run, network, random_images(network, 2, more=2)) < 5e-5


@pytest.mark.parametrize("name", HEADS)
def test_boxes_of_every_head(name: str, tmp_path: Path) -> None:
    network = mini(name, tmp_path)
    dt.export(network, tmp_path / "net.onnx", contents="boxes")
    for engine in filter(installed, ENGINES):
        run = opened(network, tmp_path / "net.onnx", engine)
        for batch in (1, 3):
            assert worst(run, network, random_images(network, batch)) < 1e-4


@needs_shared
@pytest.mark.parametrize("name", ["yolo-fastest-1.1", "ttt4-region-one-anchor", "cifar-small"])
def test_real_models(name: str, tmp_path: Path) -> None:
    network = real(name)
    dt.export(network, tmp_path / "net.onnx")
    run = opened(network, tmp_path / "net.onnx")
    for batch, more in ((1, 0), (3, 0), (1, 1)):
        if not more or run.origin.dynamic_size:
            assert worst(run, network, random_images(network, batch, more)) < 1e-5


def test_float16(tmp_path: Path) -> None:
    network = mini("yolo.alexeyab", tmp_path)
    for dtype in ("float32", "float16"):
        dt.export(network, tmp_path / f"{dtype}.onnx", dtype=dtype)
    half = onnx.load(tmp_path / "float16.onnx")
    assert {each.data_type for each in half.graph.initializer} >= {onnx.TensorProto.FLOAT16}
    assert half.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    run = opened(network, tmp_path / "float16.onnx")
    assert 0 < worst(run, network, random_images(network, 2)) < 1e-2


def test_fixed_batch_and_size(tmp_path: Path) -> None:
    network = mini("yolo.alexeyab", tmp_path)
    path = tmp_path / "net.onnx"
    dt.export(network, path, dynamic_batch=False, dynamic_size=False)
    dims = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [1, *network.plan.input]
    assert worst(opened(network, path), network, random_images(network, 3)) < 5e-5  # one by one
    other = dt.plan(network.plan.text, width=network.plan.input.w * 2)
    with pytest.raises(UsageError, match="for an input of"):
        Converted(path, other, (), "onnxruntime", metadata.read_origin(path))


HALF = "[convolutional]\nfilters=4\nsize=3\nstride=2\npad=1\nactivation=leaky\n"


def test_the_size_varies_though_a_map_has_one_pixel(tmp_path: Path) -> None:
    cfg = f"[net]\nwidth=8\nheight=8\nchannels=3\n{3 * HALF}[maxpool]\nsize=5\nstride=1\n"
    network = dt.build(cfg)
    dt.export(network, tmp_path / "net.onnx")
    run = opened(network, tmp_path / "net.onnx")
    assert run.origin.dynamic_size
    for more in (0, 1, 2):
        assert worst(run, network, random_images(network, 2, more)) < 5e-5


def test_a_file_whose_size_cannot_vary_says_so(tmp_path: Path) -> None:
    """torch cannot show of nine columns, an odd number, that pooling them works for any."""
    network = dt.build("[net]\nwidth=9\nheight=8\nchannels=3\n[maxpool]\nsize=2\nstride=2\n")
    dt.export(network, tmp_path / "net.onnx")
    run = opened(network, tmp_path / "net.onnx")
    assert not run.origin.dynamic_size
    assert worst(run, network, random_images(network, 3)) < 5e-5
    with pytest.raises(UsageError, match="dynamic_size: torch cannot export this network so"):
        dt.export(network, tmp_path / "net.onnx", dynamic_size=True)


def test_metadata_makes_the_plan_again(tmp_path: Path) -> None:
    network = mini("yolo.alexeyab", tmp_path)
    dt.export(network, tmp_path / "net.onnx")
    origin = metadata.read_origin(tmp_path / "net.onnx")
    again = dt.plan(origin.cfg, dialect=origin.dialect)
    assert [node.shape for node in again] == [node.shape for node in network.plan]
    assert (origin.contents, origin.dynamic_batch, origin.dialect) == ("raw", True, "alexeyab")
    assert origin.letterbox is False


@pytest.mark.parametrize("opset", [18, 20])
def test_opset(opset: int, tmp_path: Path) -> None:
    network = mini("yolo.alexeyab", tmp_path)
    model = exporter.model(network, opset=opset, contents="detections", nms_kind="diounms")
    assert model.opset_import[0].version == opset


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 10}, "at least 11"),
        ({"contents": "pictures"}, "must be raw, boxes or detections"),
        ({"dtype": "int8"}, "must be float32 or float16"),
        ({"contents": "detections", "nms_kind": "soft"}, "must be one of default"),
        ({"contents": "raw", "threshold": 0.5}, "threshold: is for contents=detections, not raw"),
        ({"contents": "boxes", "nms": True}, "nms: is for contents=detections, not boxes"),
        ({"nms": "soft"}, "nms=soft: must be a number or standard"),
        ({"nms": "standard", "nms_kind": "diounms"}, "nms=standard: must be .* nms_kind the same"),
        ({"max_batch": 2}, "onnx has no option max_batch; its options are contents, dtype,"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        dt.export(mini("yolo.alexeyab", tmp_path), tmp_path / "net.onnx", **options)
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize(
    ("options", "contents"),
    [
        ({"nms": False}, "raw"),
        ({"nms": True}, "detections"),
        ({"max_det": 5}, "detections"),
    ],
)
def test_options_of_detections_imply_them(
    options: dict[str, Any], contents: str, tmp_path: Path
) -> None:
    dt.export(mini("yolo.alexeyab", tmp_path), tmp_path / "net.onnx", **options)
    origin = metadata.read_origin(tmp_path / "net.onnx")
    assert (origin.contents, origin.nms or 0.45) == (contents, 0.45)


def test_networks_that_cannot_be(tmp_path: Path) -> None:
    for name, options, message in (
        ("gru_pass1.pjreddie", {}, "recurrent"),
        ("connected.pjreddie", {"contents": "boxes"}, "no head"),
        ("local.pjreddie", {"dynamic_size": True}, "fixes the size"),
    ):
        with pytest.raises(UsageError, match=message):
            dt.export(mini(name, tmp_path), tmp_path / "net.onnx", **options)


# NMS


def identity() -> Any:
    """A model whose outputs `boxes` and `scores` are its inputs."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    shapes = {"boxes": ["B", "N", 4], "scores": ["B", "N", "C"]}
    infos = [helper.make_tensor_value_info(n, kind, s) for n, s in shapes.items()]
    given = [helper.make_tensor_value_info(f"{n}_in", kind, s) for n, s in shapes.items()]
    nodes = [helper.make_node("Identity", [f"{name}_in"], [name]) for name in shapes]
    graph = helper.make_graph(nodes, "identity", given, infos)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def crowd(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Boxes (2, count, 4) that overlap much, and scores (2, count, 3), some of them equal."""
    generator = torch.Generator().manual_seed(seed)
    centre, size = (torch.rand(2, count, 2, generator=generator) for _ in range(2))
    boxes = torch.cat((centre - size / 4, centre + size / 4), dim=2)
    scores = (torch.rand(2, count, 3, generator=generator) * 50).round() / 50
    return boxes, scores


def expected_rows(boxes: Tensor, scores: Tensor, kind: Any, beta: float) -> Tensor:
    """Rows by `heads.nms`, which the answer keys check, in any order."""
    image, box, class_id = (scores > 0.25).nonzero(as_tuple=True)
    score = scores[image, box, class_id]
    alive = nms(boxes[image, box], score, image * 3 + class_id, 0.45, kind, beta)
    columns = (image[:, None], boxes[image, box], score[:, None], class_id[:, None])
    return torch.cat([each.float() for each in columns], dim=1)[alive]


def in_order(rows: Any) -> Any:
    rows = np.asarray(rows)
    return rows[np.lexsort(rows.T[::-1])]


@pytest.mark.parametrize("kind", ["default", "greedynms", "diounms"])
@pytest.mark.parametrize("count", [1, 40, 300])
def test_nms_is_darknets(kind: str, count: int) -> None:
    model = with_nms(identity(), 0.25, 0.45, kind, 0.7, None)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    boxes, scores = crowd(count, seed=count)
    if kind == "default":  # the operator leaves open which of two equal scores wins
        scores = scores + torch.arange(count)[None, :, None] * 1e-5
    (rows,) = session.run(None, {"boxes_in": boxes.numpy(), "scores_in": scores.numpy()})
    expected = expected_rows(boxes, scores, kind, 0.7)
    assert count == 1 or 0 < len(expected) < int((scores > 0.25).sum())
    assert rows.shape == expected.shape
    assert np.array_equal(in_order(rows), in_order(expected))


def test_nothing_above_the_threshold_and_a_limit() -> None:
    boxes, scores = crowd(50, seed=1)
    for kind in ("default", "diounms"):
        model = with_nms(identity(), 0.25, 0.45, kind, 0.6, 2)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        (none,) = session.run(
            None, {"boxes_in": boxes.numpy(), "scores_in": np.zeros_like(scores.numpy())}
        )
        assert none.shape == (0, 7)
        (rows,) = session.run(None, {"boxes_in": boxes.numpy(), "scores_in": scores.numpy()})
        groups, counts = np.unique(rows[:, [0, 6]], axis=0, return_counts=True)
        assert len(groups) == 6
        assert set(counts) == {2}


@needs_shared
@pytest.mark.parametrize("contents", ["raw", "boxes", "detections"])
def test_detect_on_a_file(contents: str, tmp_path: Path) -> None:
    """The same detections in every engine, an image without any and a batch among them."""
    network = real("yolo-fastest-1.1")
    options = {"contents": contents}
    if contents == "detections":
        options["nms_kind"] = "standard"  # the cfg's own is a loop, which is not for OpenCV
    dt.export(network, tmp_path / "net.onnx", **options)
    for engine in filter(installed, ENGINES):
        must_detect_alike(network, dt.load(tmp_path / "net.onnx", engine=engine))


def must_detect_alike(network: Network, run: Network) -> None:
    images: list[Any] = [keys.SHARED / "photos" / name for name in ("dog.jpg", "person.jpg")]
    images += [np.zeros((90, 120, 3), np.uint8), images[0]]
    for batch in (1, 2):
        options = {"batch_size": batch, "nms_kind": "default"}
        mine, theirs = (dt.detect(each, images, **options) for each in (network, run))
        assert isinstance(mine, list) and isinstance(theirs, list)
        assert [len(each) for each in mine] == [len(each) for each in theirs]
        assert len(mine[0]) > 4 and not len(mine[2])
        for want, got in zip(mine, theirs, strict=True):
            assert torch.equal(want.class_id, got.class_id)
            assert torch.allclose(want.xyxy, got.xyxy, atol=0.05)
            assert torch.allclose(want.score, got.score, atol=1e-4)


def test_opencv_is_not_given_a_loop(tmp_path: Path) -> None:
    if not installed("opencv"):
        pytest.skip("opencv is not installed")
    network = mini("yolo.alexeyab", tmp_path)
    dt.export(network, tmp_path / "net.onnx", contents="detections", nms_kind="diounms")
    with pytest.raises(UsageError, match="does not come back"):
        opened(network, tmp_path / "net.onnx", "opencv")
