"""Networks in training mode detect, classify and evaluate as in eval mode, and are put back."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_network import CFG

import darknet_torch as dt
from darknet_torch.network import Network
from darknet_torch.network.eval_mode import in_eval_mode


def detect(network: Network, folder: Path) -> object:
    return dt.detect(network, folder / "a.png", threshold=0.01).to_dict()["detections"]  # type: ignore[union-attr]


def evaluate(network: Network, folder: Path) -> object:
    return dt.evaluate(network, folder, cache=folder / "cache").to_dict()


def verify(network: Network, folder: Path) -> object:
    path = folder / "x.safetensors"
    dt.export(network, path)
    return str(dt.verify(network, path))


@pytest.mark.parametrize("call", [detect, evaluate, verify])
def test_as_in_eval_mode(call: Callable[[Network, Path], object], tmp_path: Path) -> None:
    torch.manual_seed(2)
    Image.effect_noise((80, 60), 90).convert("RGB").save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("0 .5 .5 .3 .3\n")
    network = dt.build(CFG)
    expected = call(network, tmp_path)
    network.train()
    network.layers[1].eval()  # as one that is frozen
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert call(network, tmp_path) == expected
    assert network.training and network.layers[0].training and not network.layers[1].training
    assert all(torch.equal(state[name], now) for name, now in network.state_dict().items())


def test_put_back_after_an_error() -> None:
    network = dt.build(CFG).train()
    with pytest.raises(ZeroDivisionError), in_eval_mode(network):
        assert not any(module.training for module in network.modules())
        raise ZeroDivisionError
    assert all(module.training for module in network.modules())
