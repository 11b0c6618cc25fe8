"""The plain forms of layers compute what the layers compute."""

import pytest
import torch

import darknet_torch as dt
from darknet_torch.exporters.tracing import Exported, prepared, with_plain_layers
from darknet_torch.network import Network

NET = "[net]\nwidth=8\nheight=12\nchannels={channels}\n"
LAYERS = {
    "[reorg]\nstride=2": 8,
    "[reorg]\nstride=4": 32,
    "[reorg]\nstride=2\nreverse=1": 8,
    "[reorg3d]\nstride=2": 3,
    "[reorg3d]\nstride=2\nreverse=1": 32,
    "[upsample]\nstride=-2\nscale=.5": 3,
    "[crop]\ncrop_width=5\ncrop_height=7": 3,
    "[crop]\ncrop_width=5\ncrop_height=7\nnoadjust=1": 3,
}
OTHERS = {
    "[reorg]\nstride=2 ": 6,
    "[reorg3d]\nstride=2\nreverse=1 ": 18,
    "[upsample]\nstride=2": 3,
}


def plain(layer: str, channels: int) -> tuple[Network, Exported]:
    network = dt.build(NET.format(channels=channels) + layer)
    exported = prepared(network)
    with_plain_layers(exported)
    return network, exported


@pytest.mark.parametrize("layer", LAYERS)
def test_the_same_numbers(layer: str) -> None:
    network, exported = plain(layer, LAYERS[layer])
    x = torch.rand(1, *network.plan.input, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(exported(x), network(x), rtol=1e-6, atol=0)


@pytest.mark.parametrize("layer", [*LAYERS, *OTHERS])
def test_which_layers_are_replaced(layer: str) -> None:
    network, exported = plain(layer, {**LAYERS, **OTHERS}[layer])
    same = type(exported.network.layers[0]) is type(network.layers[0])
    assert same == (layer in OTHERS)


def test_no_dimension_beyond_four() -> None:
    for layer, channels in LAYERS.items():
        network, exported = plain(layer, channels)
        graph = torch.export.export(exported, (torch.rand(1, *network.plan.input),)).graph
        values = [node.meta["val"] for node in graph.nodes if "val" in node.meta]
        dimensions = [value.dim() for value in values if isinstance(value, torch.Tensor)]
        assert len(dimensions) > 1
        assert max(dimensions) <= 4
