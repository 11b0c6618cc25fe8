"""Batch norm as part of the weights: the same numbers, from a cfg without it."""

from pathlib import Path

import keys
import numpy as np
import pytest
import torch
from keys import LIMIT, SHARED, STOCK_WRONG, relative_error
from torch import nn

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.network import Network
from darknet_torch.network.folding import fold

MINIS = keys.mini_names()
NORMALIZED = [
    name
    for name in MINIS
    if "batch_normalize=1" in (text := keys.mini(name).cfg.read_text()) or "cbn=1" in text
]
FUSED = [name for name in MINIS if "_fused" in name]
KEEP = {"batchnorm", "rnn", "gru", "lstm", "crnn", "conv_lstm"}
"""Layers that keep their batch norm."""
MODELS = SHARED / "models"
REAL = [path.parent.name for path in sorted(MODELS.glob("*/*.weights"))]
MISMATCHED = "yolo-lite-trial8-mismatch"


def loaded(key: keys.Key, path: Path) -> Network:
    key.write_weights(path)
    return key.load(path)


def norms(network: Network) -> list[str]:
    """Sections of the layers that have a batch norm."""
    return [
        node.name
        for node, layer in zip(network.plan, network.layers, strict=True)
        if any(isinstance(module, nn.BatchNorm2d) for module in layer.modules())
    ]


def binary(network: Network) -> int:
    """How many layers count signs only."""
    return sum(
        bool(getattr(node.layer, "xnor", False)) and node.name.startswith("conv")
        for node in network.plan
        if node.name not in KEEP
    )


def test_there_are_keys() -> None:
    assert len(NORMALIZED) > 15
    assert len(FUSED) == 3


@pytest.mark.parametrize("name", MINIS)
def test_folding_changes_no_number(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every key, before and after it was saved; and no batch norm is left that need not be."""
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(keys.GOLDEN))  # some cfgs name a tree in there
    key = keys.mini(name)
    network = loaded(key, tmp_path / "w")
    folded = fold(network)
    expected = key.compute(network)
    for mine, theirs in zip(key.compute(folded), expected, strict=True):
        assert relative_error(mine, theirs) < 2e-6
    left = [each for each in norms(folded) if each not in KEEP]
    assert len(left) <= binary(network)
    (tmp_path / "folded.cfg").write_text(folded.plan.text)
    dt.save(folded, tmp_path / "folded.weights")
    again = dt.load(
        tmp_path / "folded.cfg", tmp_path / "folded.weights", dialect=key.fork, mode=key.mode
    )
    network.reset()
    for mine, theirs in zip(key.compute(again), expected, strict=True):
        assert relative_error(mine, theirs) < 2e-6


@pytest.mark.parametrize("name", NORMALIZED)
def test_the_cfg_says_so(name: str, tmp_path: Path) -> None:
    folded = fold(loaded(keys.mini(name), tmp_path / "w"))
    for node in folded.plan:
        if node.name not in KEEP and not getattr(node.layer, "xnor", False):
            assert not getattr(node.layer, "normalized", False)
            assert node.layer.section.get("batch_normalize", "0") == "0"
    assert not any(parameter.requires_grad for parameter in folded.parameters())


@pytest.mark.parametrize("name", MINIS)
def test_the_original_stays_as_it_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(keys.GOLDEN))
    network = loaded(keys.mini(name), tmp_path / "w")
    text = network.plan.text
    fold(network, as_detector=True)
    dt.save(network, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "w").read_bytes()
    assert network.plan.text == text


@pytest.mark.parametrize("name", FUSED)
def test_as_alexeyabs_detector_does(name: str, tmp_path: Path) -> None:
    """It writes to weights of shortcuts as it folds: a weight below .001 counts as .001."""
    key = keys.mini(name)
    network = loaded(key, tmp_path / "w")
    outputs = key.compute(fold(network, as_detector=True))
    wrong, plain = STOCK_WRONG.get(name, set()), key.compute(network)
    for output, mine, answer in zip(outputs, plain, key.answers, strict=True):
        samples = output.ravel()[keys.sample_indices(answer.size)]
        stored = stored_array(key, answer.layer)
        assert relative_error(samples, answer.samples, answer.largest) <= LIMIT
        if stored is not None:
            assert relative_error(output.ravel(), stored.ravel(), answer.largest) <= LIMIT
        assert (relative_error(output, mine) > 1e-4) == (answer.layer in wrong)


def stored_array(key: keys.Key, layer: int) -> np.ndarray | None:
    """What the stock program computed, not what is meant."""
    with np.load(key.path.with_suffix(".npz")) as file:
        name = f"layer_{layer}"
        return file[name] if name in file.files else None


def test_as_detector_changes_nothing_else(tmp_path: Path) -> None:
    network = loaded(keys.mini("conv_batchnorm.alexeyab"), tmp_path / "w")
    one, other = fold(network).state_dict(), fold(network, as_detector=True).state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.skipif(not REAL, reason="needs the real models of shared/ beside the checkout")
def test_real_models(tmp_path: Path) -> None:
    for name in REAL:
        if name == MISMATCHED:
            continue
        folder = MODELS / name
        cfg, weights = (next(folder.glob(f"*.{ending}")) for ending in ("cfg", "weights"))
        network = dt.load(cfg, weights, partial=True)
        folded = fold(network)
        assert not norms(folded), name
        x = torch.rand(1, *network.plan.input, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            pairs = list(zip(results(folded, x), results(network, x), strict=True))
        for mine, theirs in pairs:
            assert relative_error(mine.numpy(), theirs.numpy()) < 1e-5, name
        dt.export(network, tmp_path / "x.weights", fuse=True)
        again = dt.load(tmp_path / "x.cfg", tmp_path / "x.weights")
        state, other = folded.state_dict(), again.state_dict()
        assert state.keys() == other.keys()
        assert all(torch.equal(state[each], other[each]) for each in state), name
        (tmp_path / "x.cfg").unlink()


def results(network: Network, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    output = network(x)
    return (output,) if isinstance(output, torch.Tensor) else output


def test_no_values_yet() -> None:
    with pytest.raises(UsageError, match="no values yet"):
        fold(Network(dt.plan("yolov3-tiny")))
