"""Networks of tiny layers as graphs of oneDNN."""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

import darknet_torch as dt
from darknet_torch.network import Network, as_network
from darknet_torch.network.folding import fold
from darknet_torch.speed import onednn_graph
from darknet_torch.speed.onednn import is_supported
from darknet_torch.speed.onednn_graph import graph_of, has_tiny_layers
from darknet_torch.speed.optimized import PATIENCE
from darknet_torch.speed.packed_layers import between_float32

needs_bfloat16 = pytest.mark.skipif(
    not is_supported(torch.device("cpu"), torch.bfloat16),
    reason="a processor without bfloat16 products",
)

NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"
CONV = "[convolutional]\nfilters={}\nsize=3\npad=1\nactivation=leaky\n"
DEPTHWISE = f"{CONV.format(8)}batch_normalize=1\n{CONV.format(8)}groups=8\nstride=2\n"
TINY = f"{NET}{DEPTHWISE}[shortcut]\nfrom=-1\nactivation=linear\n[upsample]\nstride=2\n"
SQUEEZED = f"{NET}{CONV.format(8)}[avgpool]\n{CONV.format(8)}[scale_channels]\nfrom=-3\n"


@pytest.fixture
def threads() -> Iterator[None]:
    """Put the number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def built(cfg: str) -> Network:
    torch.manual_seed(0)
    return as_network(dt.build(cfg, dialect="alexeyab"))


def images(batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize(
    ("cfg", "tiny"),
    [
        (TINY, True),
        (NET + CONV.format(4096) + CONV.format(512), False),
        (SQUEEZED, False),
        (f"{NET}[maxpool]\nsize=2\nstride=2\n", False),
    ],
)
def test_which_networks(cfg: str, tiny: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = fold(built(cfg))
    assert has_tiny_layers(network) == tiny
    monkeypatch.delattr(torch.jit, "enable_onednn_fusion")
    assert not has_tiny_layers(network)


@pytest.mark.usefixtures("threads")
def test_the_same_outputs_with_every_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a graph for each number, made once, whoever calls first."""
    network, x, made = built(TINY), images(2), []
    expected = network(x)
    compiled = onednn_graph._compiled

    def counted(*arguments: object) -> object:
        made.append(torch.get_num_threads())
        return compiled(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(onednn_graph, "_compiled", counted)
    torch.set_num_threads(1)
    with torch.inference_mode():
        run = graph_of(fold(network), x)
        for number in (1, 2, 1):
            torch.set_num_threads(number)
            assert torch.allclose(run(x)[0], expected, atol=1e-6)
    assert made == [1, 2]

    def work(_: int) -> bool:
        torch.set_num_threads(3)
        return torch.allclose(run(x)[0], expected, atol=1e-6)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(40)))
    assert made == [1, 2, 3]


@pytest.mark.parametrize("wrong", ["output", "input"])
def test_a_wrong_program_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program whose outputs differ, or that writes over its input."""

    def program(x: Tensor) -> Tensor:
        expected = network(x)
        if wrong == "input":
            x.mul_(0.999)
        return expected * 1.001 if wrong == "output" else expected

    network = fold(built(TINY))
    monkeypatch.setattr(torch.jit, "freeze", lambda *_, **__: program)
    with pytest.raises(RuntimeError, match="something else"):
        graph_of(network, images())


@needs_bfloat16
def test_long_sums_are_bfloat16_in_the_graph() -> None:
    """Only the second of three convolutions has long sums; the maps between them are float32."""
    joined = "[route]\nlayers=-1,-2\n[convolutional]\nfilters=16\nactivation=leaky\n"
    network, x = built(NET + CONV.format(32) + CONV.format(4) + joined), images()
    fast = dt.optimize(network, dtype="bfloat16", compile=False)
    for _ in range(PATIENCE + 1):
        low = fast(x)[0]
    traced = fast._graph_of.args[0]
    assert [type(each).__name__ for each in traced.layers].count("Cast") == 1
    assert fast._runners and low.dtype == torch.float32
    assert 1e-6 < (low - network(x)[0]).abs().max() / network(x)[0].abs().max() < 0.02


@needs_bfloat16
def test_a_wrong_program_in_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [torch.float32, torch.bfloat16]
    network = between_float32(fold(built(NET + CONV.format(32) + CONV.format(16))), layers)
    monkeypatch.setattr(torch.jit, "freeze", lambda *_, **__: lambda x: network(x) * 1.05)
    with pytest.raises(RuntimeError, match="something else"):
        graph_of(network, images())


def test_random_numbers_are_left_alone() -> None:
    network = fold(built(TINY))
    before = torch.get_rng_state()
    graph_of(network, images())
    assert torch.equal(before, torch.get_rng_state())


def test_its_convolutions_are_in_graphs() -> None:
    """None is left to be computed alone, and no warning of TorchScript comes through."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = onednn_graph._compiled(fold(built(TINY)), images())
    with torch.no_grad():
        program(images())
    optimized = torch.jit.last_executed_optimized_graph()  # type: ignore[no-untyped-call]
    alone = {node.kind() for node in optimized.nodes()}
    parts = optimized.findAllNodes("prim::oneDNNFusionGroup", recurse=True)
    assert parts and not {"aten::_convolution", "aten::conv2d"} & alone
    assert "aten::sub" in alone and "aten::add" not in str(optimized)


def test_without_a_compiler_after_some_calls() -> None:
    network = built(TINY)
    fast = dt.optimize(network, compile=False)
    for number in range(PATIENCE + 1):
        assert bool(fast._runners) == (number >= PATIENCE)
        assert torch.allclose(fast(images())[0], network(images())[0], atol=1e-6)
    assert not fast.compiles
