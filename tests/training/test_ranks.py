"""Several processes share each batch; `tools/check --training` starts them with torchrun."""

import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import shapes
import torch

import darknet_torch as dt
from darknet_torch.training.loop import train


def run(cfg: Path, data: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = dt.build(cfg)
    options = {"subdivisions": 4, "ema_alpha": 0.9}
    train(network, data, folder=folder, workers=0, max_batches=10, options=options)


def run_as_rank(rank: int, port: int, cfg: Path, data: Path, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = str(port)
    run(cfg, data, folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks of this one")
def test_two_processes_get_the_weights_of_one(tmp_path: Path) -> None:
    cfg = tmp_path / "net.cfg"
    dropout = "[dropout]\nprobability=.2\n[convolutional]\nfilters=16\n"
    cfg.write_text(shapes.DETECTOR.replace("[convolutional]\nfilters=16\n", dropout))
    data = shapes.draw_detection_set(tmp_path / "shapes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    arguments = [(rank, port, cfg, data, tmp_path / "two") for rank in range(2)]
    processes = [context.Process(target=run_as_rank, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]
    run(cfg, data, tmp_path / "one")
    one, two = (dt.load(cfg, tmp_path / each / "net_last.weights") for each in ("one", "two"))
    for name, value in one.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, two.state_dict()[name], atol=1e-5, rtol=0, msg=name)
