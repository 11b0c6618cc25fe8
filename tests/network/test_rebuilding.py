"""Options that change the shapes of weights: new values, or a message in one line."""

import pytest
import torch

import darknet_torch as dt
from darknet_torch.errors import DarknetWarning, ShapeError
from darknet_torch.network.editing import with_options

PLAIN = """[net]
width=8
height=8
channels=3
[convolutional]
filters=4
size=3
pad=1
activation=leaky
[convolutional]
filters=2
size=1
activation=linear
"""


SHAPES: list[tuple[dict[str, object], str]] = [
    (
        {"channels": 1},
        r"conv.weight has shape \(4, 3, 3, 3\), and would need \(4, 1, 3, 3\): change",
    ),
    ({"convolutional.batch_normalize": 1}, r"bn.weight of shape \(4,\) would be needed: change"),
]


@pytest.mark.parametrize(("options", "message"), SHAPES)
@pytest.mark.parametrize("learnt", ["loaded", "seen"])
def test_what_was_learnt_is_not_lost(options: dict[str, object], message: str, learnt: str) -> None:
    network = dt.build(PLAIN)
    network.loaded = 2 * (learnt == "loaded")
    network.header = network.header._replace(seen=64 * (learnt == "seen"))
    with pytest.raises(ShapeError, match=message) as error:
        with_options(network, options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("options", [each[0] for each in SHAPES])
def test_a_new_network_begins_anew_where_shapes_change(options: dict[str, object]) -> None:
    network = dt.build(PLAIN)
    with pytest.warns(DarknetWarning, match="random values again in layers: 0"):
        changed = with_options(network, options)
    assert torch.isfinite(changed(torch.rand(1, changed.plan.input.c, 8, 8))).all()
    assert not any(tensor.is_meta for tensor in changed.state_dict().values())
    if "channels" in options:  # what fits is kept
        mine, theirs = (each.layers[1].state_dict() for each in (changed, network))
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_what_the_new_cfg_has_no_place_for() -> None:
    network = dt.build(PLAIN.replace("filters=4", "filters=4\nbatch_normalize=1"))
    network.loaded = 2
    with pytest.raises(ShapeError, match=r"conv.bias of shape \(4,\) would be needed"):
        with_options(network, {"convolutional.batch_normalize": 0})
