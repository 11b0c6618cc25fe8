"""Traced networks, changed for a graphics card, which is not needed to compare them."""

from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_torch.speed.card_graph import for_a_card, mish

aten, ours = torch.ops.aten, torch.ops.darknet_torch


class Joining(nn.Module):
    """Mish after convolutions, a sum and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b, c, d = (conv(x) for conv in self.convs)
        a = F.mish(a, inplace=True)
        joined = torch.cat((F.mish(F.mish(b) + a), F.silu(c)), 1)
        return torch.cat((joined, F.leaky_relu(d, 0.1)), dim=1), F.mish(x)


def traced() -> tuple[nn.Module, torch.fx.GraphModule, Tensor]:
    torch.manual_seed(0)
    network, x = Joining().eval(), 3 * torch.randn(2, 8, 6, 5)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        return network, torch.export.export(network, (x,)).module(), x


def test_mish_is_accurate() -> None:
    """To rounding in float32, and the same as torch's at the ends."""
    x = torch.cat((torch.linspace(-80, 30, 20001), torch.tensor([-1e4, 1e4, 0.0])))
    want = F.mish(x.double())
    error = (mish(x).double() - want).abs() / want.abs().clamp_min(1e-30)
    assert error.max() < 1e-6
    assert torch.equal(mish(x[x > 20]), x[x > 20])
    assert mish(torch.tensor([float("inf"), float("nan")])).isnan().tolist() == [False, True]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mish_in_16_bits_is_that_in_32(dtype: torch.dtype) -> None:
    x = torch.linspace(-12, 100, 5001).to(dtype)
    assert torch.equal(mish(x), mish(x.float()).to(dtype))
    assert mish(x).dtype == dtype


@torch.no_grad()
def test_what_is_replaced() -> None:
    network, graph, x = traced()
    want = network(x)
    targets = [node.target for node in for_a_card(graph).graph.nodes]
    assert targets.count(mish) == 4
    assert targets.count(ours.joined.default) == 1  # the other one has no map that is costly
    assert targets.count(aten.cat.default) == 1
    for got, expected in zip(graph(x), want, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_mish_in_place_of_what_is_read_again_stays() -> None:
    class Again(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x + 1
            first = y[:, :2]
            F.mish(y, inplace=True)
            return y[:, :2] + first

    x = torch.randn(1, 4, 3, 3)
    graph = for_a_card(torch.export.export(Again(), (x,)).module())
    assert torch.equal(graph(x), Again()(x))


@torch.no_grad()
def test_inductor_compiles_it() -> None:
    network, graph, x = traced()
    want = network(x)
    config = import_module("torch._inductor.config")
    graph = for_a_card(graph)
    graph.graph.set_codegen(torch.fx.graph.CodeGen())
    graph.recompile()
    with config.patch({"freezing": True, "fx_graph_cache": False}):
        run = import_module("torch._inductor").compile(graph, [x])
    for got, expected in zip(run(x), want, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
        assert got.is_contiguous(memory_format=torch.channels_last)
