"""Settings of a test run in several processes (pytest -n auto), and what several folders share."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch
from small_network import CFG

import darknet_torch as dt
from darknet_torch.network import Network, as_network

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # more threads than cores only get in one another's way
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(workers)))

# A machine that has much else to do fails no test by that.
hypothesis.settings.register_profile("patient", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture
def small_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """net.cfg, net.weights and net.names in the current folder; a cache of its own."""
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    Path("net.cfg").write_text(CFG)
    Path("net.names").write_text("ant\nbee\n")
    dt.save(dt.build("net.cfg"), "net.weights")
    return tmp_path


@pytest.fixture
def small_network(small_folder: Path) -> Network:
    """The network of that folder."""
    return as_network(dt.load("net.cfg", "net.weights"))
