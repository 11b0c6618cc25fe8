"""Optimised networks: the same numbers from faster programs."""

import copy
import pickle
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keys
import pytest
import torch
from keys import relative_error
from torch import Tensor

import darknet_torch as dt
from darknet_torch.errors import DarknetError, DarknetWarning, UsageError
from darknet_torch.heads.boxes import iou
from darknet_torch.network import Network
from darknet_torch.speed.onednn import is_supported
from darknet_torch.speed.optimized import PATIENCE, Optimized, optimize
from darknet_torch.speed.packed_layers import PackedConvBlock
from darknet_torch.speed.winograd import WinogradConv

MODELS = keys.SHARED / "models"
PHOTOS = sorted((keys.SHARED / "photos").glob("*.jpg"))
REAL = ("yolo-fastest-1.1", "mobilenetv2-nano-coco", "yoloface-50k", "yolo-lite-voc-trial3")
MINIS = ("conv_batchnorm.pjreddie", "route_groups.alexeyab", "yolo_new_coords.alexeyab")

needs_shared = pytest.mark.skipif(
    not MODELS.is_dir() or not PHOTOS, reason=f"{keys.SHARED} is not there: real models and photos"
)
needs_bfloat16 = pytest.mark.skipif(
    not is_supported(torch.device("cpu"), torch.bfloat16),
    reason="a processor without bfloat16 products",
)


@pytest.fixture
def small(tmp_path: Path) -> Network:
    return mini("yolo.alexeyab", tmp_path)


@pytest.fixture
def inductor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Inductor compile what has tiny layers too."""
    monkeypatch.setattr("darknet_torch.speed.optimized.has_tiny_layers", lambda _: False)


@pytest.fixture(params=["Inductor", "a graph of oneDNN"])
def compiler(request: pytest.FixtureRequest) -> None:
    """Compile a small network in both ways."""
    if request.param == "Inductor":
        request.getfixturevalue("inductor")


def mini(name: str, folder: Path) -> Network:
    key = keys.mini(name)
    key.write_weights(folder / "w")
    return key.load(folder / "w")


def real(name: str) -> Network:
    (cfg,), (weights,) = (list((MODELS / name).glob(f"*.{end}")) for end in ("cfg", "weights"))
    return dt.load(cfg, weights)


def images(network: Network, batch: int = 2, more: int = 0) -> Tensor:
    c, h, w = network.plan.input
    rows, columns = network.plan.stride
    generator = torch.Generator().manual_seed(3)
    return torch.rand(batch, c, h + more * rows, w + more * columns, generator=generator)


@torch.no_grad()
def worst(fast: Optimized, network: Network, x: Tensor) -> float:
    got, want = (each if isinstance(each, tuple) else (each,) for each in (fast(x), network(x)))
    assert all(each.dtype == torch.float32 for each in got)
    return max(relative_error(a.numpy(), b.numpy()) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("name", MINIS)
def test_fused_programs_give_the_same_numbers(name: str, tmp_path: Path) -> None:
    network = mini(name, tmp_path)
    fast = optimize(network, compile=False)
    for batch in (1, 3, 1):
        assert worst(fast, network, images(network, batch)) < 2e-6


@needs_shared
@pytest.mark.parametrize("name", REAL)
def test_real_models(name: str) -> None:
    network = real(name)
    fast = optimize(network, compile=False)
    assert worst(fast, network, images(network)) < 1e-5
    assert worst(fast, network, images(network, 1, more=1)) < 1e-5


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda fast: pickle.loads(pickle.dumps(fast))])
@pytest.mark.parametrize("compiles", [False, True])
def test_copies(small: Network, compiles: bool, copied: Callable[[Optimized], Optimized]) -> None:
    """Packed weights and compiled programs are made anew."""
    fast, x = optimize(small, compile=compiles), images(small)
    expected = fast(x)
    other = copied(fast)
    for one, two in zip(expected, other(x), strict=True):
        assert torch.equal(one, two)
    assert other.compiles == compiles


def test_copies_of_winograd_convolutions() -> None:
    conv = "[convolutional]\nfilters=128\nsize=3\npad=1\nactivation=leaky\n"
    network = dt.build(f"[net]\nwidth=64\nheight=64\nchannels=3\n{3 * conv}")
    fast = optimize(network, compile=False)
    assert any(isinstance(each, WinogradConv) for each in fast.network.layers)
    x = images(network)
    assert torch.equal(fast(x), pickle.loads(pickle.dumps(fast))(x))


def test_stays_where_it_is(small: Network) -> None:
    fast = optimize(small, compile=False)
    assert fast.to("cpu") is fast and fast.float() is fast
    for move in (fast.double, fast.half, lambda: fast.to("meta")):
        with pytest.raises(UsageError, match=r"stays on cpu and in float32; for .* optimize the N"):
            move()
    assert worst(fast, small, images(small)) < 2e-6


def test_is_not_traced(small: Network) -> None:
    fast = optimize(small, compile=False)
    with pytest.raises(UsageError, match="an optimized network cannot be traced"):
        torch.jit.trace(fast, images(small))  # type: ignore[no-untyped-call]
    with pytest.raises(UsageError, match="an optimized network cannot be traced"):
        torch.fx.symbolic_trace(fast)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_compiled(small: Network, memory_format: Any) -> None:
    fast = optimize(small, memory_format=memory_format)
    assert fast.compiles
    for batch in (1, 2):
        assert worst(fast, small, images(small, batch)) < 5e-6


@needs_bfloat16
@pytest.mark.parametrize("compiles", [False, True])
def test_short_sums_are_not_bfloat16(compiles: bool) -> None:
    """Of 27 products; where hardly any are short, only layers that read the image are float32."""
    conv = "[convolutional]\nfilters=32\nsize=3\npad=1\nactivation=leaky\n"
    pointwise = conv.replace("size=3", "size=1")  # sums of 32
    low, high = torch.bfloat16, torch.float32
    cases = (
        (5 * conv + pointwise, [high] + 5 * [low]),
        (2 * (conv + pointwise), [high, high, low, high]),
    )
    torch.manual_seed(0)
    for layers, expected in cases:
        network = dt.build(f"[net]\nwidth=16\nheight=16\nchannels=3\n{layers}")
        fast = optimize(network, dtype="bfloat16", compile=compiles)
        assert 0 < worst(fast, network, images(network)) < 1e-2
        packed = [each for each in fast.network.modules() if isinstance(each, PackedConvBlock)]
        assert [each.conv.dtype for each in packed] == expected


@needs_bfloat16
@needs_shared
@pytest.mark.parametrize("name", REAL)
def test_boxes_in_bfloat16(name: str) -> None:
    """Within .02 probability and .98 IoU above a threshold of .3, on all photos.

    Before suppression: which of two boxes with nearly the same score stays is left open.
    """
    network = real(name)
    fast = optimize(network, dtype="bfloat16", compile=False)
    plain, other = (dt.detect(each, PHOTOS, threshold=0.3, nms=0) for each in (network, fast))
    assert isinstance(plain, list) and isinstance(other, list)
    assert sum(map(len, plain)) > 5
    for want, got in zip(plain, other, strict=True):
        for number in (want.score > 0.32).nonzero()[:, 0].tolist():
            same = got.class_id == want.class_id[number]
            overlaps = iou(want.xyxy[number], got.xyxy[same])
            assert overlaps.max() > 0.98
            assert (got.score[same][overlaps.argmax()] - want.score[number]).abs() < 0.02


def test_wrong_shapes_are_refused_before_anything_runs(small: Network) -> None:
    for compiles in (False, True):
        fast = optimize(small, compile=compiles)
        with pytest.raises(DarknetError, match="input"):
            fast(torch.zeros(1, 7, 4, 4))


def test_the_original_stays_as_it_was(small: Network) -> None:
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    optimize(small, dtype="bfloat16", compile=False)(images(small))
    after = small.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_changes_of_the_original_reach_no_copy(small: Network) -> None:
    fast, x = optimize(small, compile=False), images(small)
    before = [y.clone() for y in fast(x)]
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.zero_()
    assert all(torch.equal(*pair) for pair in zip(before, fast(x), strict=True))


def settings() -> tuple[object, ...]:
    from torch._dynamo import config as dynamo
    from torch._inductor import config as inductor

    return (
        inductor.freezing,
        dynamo.recompile_limit,
        torch.jit.onednn_fusion_enabled(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.jit.onednn_fusion_enabled(),
    )


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("compiles", [False, True])
def test_settings_of_the_process_are_left_alone(small: Network, compiles: bool) -> None:
    before = settings()
    optimize(small, compile=compiles)(images(small))
    assert settings() == before


def test_convolutions_are_packed(small: Network) -> None:
    fast = optimize(small, compile=False)
    kinds = [type(layer) for layer in fast.network.layers]
    expected = [node.name == "convolutional" for node in small.plan]
    assert [kind is PackedConvBlock for kind in kinds] == expected


@pytest.mark.usefixtures("inductor")
def test_a_shape_is_compiled_once_it_has_come_often(small: Network) -> None:
    fast = optimize(small)
    fast(images(small))
    x = images(small, 5)
    for number in range(PATIENCE + 1):
        assert (tuple(x.shape) in fast._runners) == (number >= PATIENCE)
        assert worst(fast, small, x) < 5e-6


@pytest.mark.usefixtures("inductor")
def test_nothing_else_runs_while_a_program_is_made(
    small: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tracing changes how modules are called, in all threads."""
    fast, running, counts = optimize(small), [], []

    def compiled(*_: Any) -> Any:
        counts.append(len(running))
        time.sleep(0.02)
        counts.append(len(running))
        return lambda x: x

    def begin(*_: Any) -> None:
        running.append(1)
        time.sleep(0.002)

    monkeypatch.setattr("darknet_torch.speed.optimized.compiled_for", compiled)
    fast.network.layers[0].register_forward_pre_hook(begin)
    fast.network.layers[1].register_forward_hook(lambda *_: running.pop() and None)

    def work(batch: int) -> None:
        for _ in range(PATIENCE + batch):
            fast(images(small, batch))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, (1, 2, 3)))
    assert counts == 6 * [0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_type_that_the_processor_lacks(
    dtype: Any, small: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "darknet_torch.speed.onednn.is_supported", lambda _, dtype: dtype == torch.float32
    )
    with pytest.warns(DarknetWarning, match=f"{dtype}: this processor") as caught:
        fast = optimize(small, dtype=dtype, compile=False)
    assert [each.filename for each in caught] == [__file__]
    assert fast.dtype == torch.float32
    x = images(small)
    assert torch.equal(fast(x)[0], optimize(small, compile=False)(x)[0])


@pytest.mark.usefixtures("inductor")
def test_without_a_compiler_one_warning(small: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder, exc

    def missing() -> str:
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)
    with pytest.warns(DarknetWarning, match=r"no C\+\+ compiler") as caught:
        fast = optimize(small)
        fast(images(small))
        fast(images(small))
    assert len(caught) == 1
    assert not fast.compiles


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    ("error", "message"), [("\nno space left\nat line 3", "no space left"), ("", "RuntimeError")]
)
def test_where_compiling_fails_one_warning(
    error: str, message: str, small: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError(error)

    for compiler in ("compiled_for", "graph_of"):
        monkeypatch.setattr(f"darknet_torch.speed.optimized.{compiler}", fails)
    fast = optimize(small)
    with pytest.warns(DarknetWarning, match="not compiled") as caught:
        assert worst(fast, small, images(small)) < 2e-6
    for _ in range(PATIENCE + 1):  # would be compiled now
        assert worst(fast, small, images(small, 3)) < 2e-6
    assert [str(each.message) for each in caught] == [f"not compiled: {message}"]
    assert caught[0].filename == __file__
    assert not fast.compiles


@pytest.mark.parametrize("name", ["shortcut_multi.alexeyab", "shortcut_same_shape.alexeyab"])
def test_sums_that_are_read_again(name: str, tmp_path: Path) -> None:
    """A graph of oneDNN writes them over a map: wrong outputs, or the end of the process."""
    network = mini(name, tmp_path)
    fast, x = optimize(network), images(network)
    assert worst(fast, network, x) < 5e-6
    assert fast._graph_of is not None


def test_recurrent_networks_keep_their_state(tmp_path: Path) -> None:
    network = mini("gru_pass1.pjreddie", tmp_path)
    fast = optimize(network)
    x = torch.rand(1, network.plan.input.c)
    for _ in range(2):
        network.reset()
        fast.reset()
        for _ in range(3):
            assert worst(fast, network, x) < 2e-6


@pytest.mark.parametrize("options", [{"dtype": "int4"}, {"memory_format": "blocked"}])
def test_wrong_options(small: Network, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be"):
        optimize(small, **options)


def test_no_gradients(small: Network) -> None:
    outputs = optimize(small, compile=False)(images(small).requires_grad_())
    assert all(
        not each.requires_grad for each in (outputs if isinstance(outputs, tuple) else (outputs,))
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu(small: Network) -> None:
    fast = optimize(small.cuda(), dtype="float16")
    x = images(small).cuda()
    with torch.no_grad(), warnings.catch_warnings():
        pairs = zip(fast(x), small(x), strict=True)
    assert max(relative_error(a.cpu().numpy(), b.cpu().numpy()) for a, b in pairs) < 1e-2
