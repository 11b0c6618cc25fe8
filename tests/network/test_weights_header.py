"""The header: Darknet's two widths, and the five numbers of PyTorch-YOLOv3."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from small_network import CFG

import darknet_torch as dt
from darknet_torch.errors import DarknetWarning, WeightsError

FIVE = struct.pack("<5i", 0, 0, 0, 77, 0)
WHAT = "header has 20 bytes with version 0.0.0, as PyTorch-YOLOv3"


@pytest.fixture
def values() -> np.ndarray:
    """The floats of the network, all of them positive."""
    return np.random.default_rng(1).uniform(0.1, 1, dt.plan(CFG).floats).astype("<f4")


def write(path: Path, *parts: bytes | np.ndarray) -> Path:
    path.write_bytes(b"".join(p if isinstance(p, bytes) else p.tobytes() for p in parts))
    return path


def load(path: Path, **options: int | bool) -> dt.Network:
    network = dt.load(CFG, path, **options)  # type: ignore[call-overload]
    assert isinstance(network, dt.Network)
    return network


def quietly(path: Path, **options: int | bool) -> dt.Network:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load(path, **options)


def same(network: dt.Network, expected: dt.Network, layers: int = 2) -> bool:
    pairs = zip(
        network.layers[:layers].parameters(), expected.layers[:layers].parameters(), strict=True
    )
    return all(bool((mine == theirs).all()) for mine, theirs in pairs)


def test_five_numbers(tmp_path: Path, values: np.ndarray) -> None:
    plain = quietly(write(tmp_path / "a.weights", struct.pack("<4i", 0, 1, 0, 77), values))
    with pytest.warns(DarknetWarning, match=WHAT):
        network = load(write(tmp_path / "b.weights", FIVE, values))
    assert same(network, plain)
    assert network.header == (0, 0, 0, 77)
    dt.save(network, tmp_path / "c.weights")
    assert (tmp_path / "c.weights").read_bytes() == FIVE[:16] + values.tobytes()
    assert same(quietly(tmp_path / "c.weights"), plain)


@pytest.mark.parametrize("options", [{"cutoff": 1}, {"partial": True}])
def test_a_part_of_the_network(options: dict, tmp_path: Path, values: np.ndarray) -> None:
    first = dt.plan(CFG)[0].floats
    plain = quietly(write(tmp_path / "a.weights", struct.pack("<4i", 0, 1, 0, 77), values))
    with pytest.warns(DarknetWarning, match=WHAT):
        network = load(write(tmp_path / "b.weights", FIVE, values[:first]), **options)
    assert network.loaded == 1 and same(network, plain, 1)


def test_a_part_of_a_longer_file(tmp_path: Path, values: np.ndarray) -> None:
    """The sizes say nothing: the version does, which is never Darknet's."""
    more = np.ones(7, "<f4")
    plain = quietly(write(tmp_path / "a.weights", struct.pack("<4i", 0, 1, 0, 77), values))
    with pytest.warns(DarknetWarning, match=WHAT):
        assert same(load(write(tmp_path / "b.weights", FIVE, values, more), cutoff=2), plain)
    old = write(tmp_path / "c.weights", struct.pack("<5i", 0, 1, 0, 77, 0), values[1:], more)
    assert quietly(old, cutoff=2).header == (0, 1, 0, 77)  # no version of theirs


def test_darknets_own_headers(tmp_path: Path, values: np.ndarray) -> None:
    """A first value of 0 is no fifth number where the size says so."""
    values[0] = 0
    for head in (struct.pack("<4i", 0, 0, 0, 7), struct.pack("<iiiq", 0, 2, 5, 7)):
        network = quietly(write(tmp_path / "a.weights", head, values))
        assert network.header.seen == 7
        dt.save(network, tmp_path / "b.weights")
        assert (tmp_path / "b.weights").read_bytes() == head + values.tobytes()


def test_a_few_more_values_are_no_layer(tmp_path: Path, values: np.ndarray) -> None:
    head = struct.pack("<iiiq", 0, 2, 5, 7)
    for count, hint in (
        (1, "its header is not Darknet's"),
        (400, "cutoff=N reads only"),
    ):
        path = write(tmp_path / "a.weights", head, values, np.ones(count, "<f4"))
        with pytest.raises(WeightsError, match=hint):
            load(path)
