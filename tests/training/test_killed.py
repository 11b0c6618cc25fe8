"""A process that is killed; `tools/check --training` does it at twenty random instants."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import shapes
import torch

import darknet_torch as dt
from darknet_torch.training.loop import train


def run(cfg: Path, data: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    options = {"folder": folder, "workers": 0, "max_batches": 16, "save_every": 4}
    train(dt.build(cfg), data, **options)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process is a fork of this one")
def test_kill_9_and_the_same_call_again(tmp_path: Path) -> None:
    cfg = tmp_path / "net.cfg"
    cfg.write_text(shapes.DETECTOR)
    data = shapes.draw_detection_set(tmp_path / "shapes")
    parts = tmp_path / "parts"
    process = multiprocessing.get_context("fork").Process(target=run, args=(cfg, data, parts))
    process.start()
    deadline = time.monotonic() + 120
    while not (parts / "state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.join()
    assert (parts / "state.safetensors").exists()
    assert not (parts / "net_16.weights").exists(), "killed too late"
    for folder in (parts, tmp_path / "whole"):
        run(cfg, data, folder)
    for name in ("net_last.weights", "net_8.weights", "metrics.csv"):
        one, other = ((folder / name).read_bytes() for folder in (parts, tmp_path / "whole"))
        assert one == other, name
