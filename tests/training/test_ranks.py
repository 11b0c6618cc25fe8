"""Several processes share each batch; `tools/check --training` starts them with torchrun."""

import itertools
import math
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapes
import torch

import darknet_torch as dt
from darknet_torch.errors import TrainingError
from darknet_torch.layers.truth import Loss
from darknet_torch.training import step, training_state
from darknet_torch.training.loop import train
from darknet_torch.training.result import TrainingResult

Accident = Callable[[dict[int, Loss]], dict[int, Loss]]
NOT_FINITE, INTERRUPTED = 7, 8
BATCH = 8
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks of this one")


def interrupted(losses: dict[int, Loss]) -> dict[int, Loss]:
    os.kill(os.getpid(), signal.SIGINT)
    return losses


def not_finite(losses: dict[int, Loss]) -> dict[int, Loss]:
    return {
        index: Loss({name: part * math.nan for name, part in loss.parts.items()}, loss.cost)
        for index, loss in losses.items()
    }


def run(cfg: Path, data: Path, folder: Path) -> TrainingResult:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = dt.build(cfg)
    options = {"subdivisions": 4, "ema_alpha": 0.9}
    return train(network, data, folder=folder, workers=0, max_batches=10, options=options)


def run_as_rank(
    rank: int, port: int, cfg: Path, data: Path, folder: Path, accident: Accident | None
) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = str(port)
    if accident is not None and rank == 1:
        compute, late = step.losses_of, itertools.count()

        def losses_of(*arguments: Any) -> dict[int, Loss]:
            losses = compute(*arguments)
            is_second_batch = arguments[-1].seen > BATCH and next(late) == 0
            return accident(losses) if is_second_batch else losses

        step.losses_of = losses_of
    try:
        result = run(cfg, data, folder)
    except TrainingError:
        sys.exit(NOT_FINITE)
    sys.exit(INTERRUPTED if result.stopped == "interrupt" else 0)


def run_two(cfg: Path, data: Path, folder: Path, accident: Accident | None = None) -> list[Any]:
    """Train with two processes, of which the second has an accident; return their exit statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    arguments = [(rank, port, cfg, data, folder, accident) for rank in range(2)]
    processes = [context.Process(target=run_as_rank, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        process.kill()
    return [process.exitcode for process in processes]


@forks
@pytest.mark.parametrize(
    ("accident", "status", "batches"),
    [(interrupted, INTERRUPTED, 2), (not_finite, NOT_FINITE, 1)],
)
def test_what_happens_to_one_process_ends_both(
    tmp_path: Path, accident: Accident, status: int, batches: int
) -> None:
    (tmp_path / "net.cfg").write_text(shapes.DETECTOR)
    data = shapes.draw_detection_set(tmp_path / "shapes")
    cfg, folder = tmp_path / "net.cfg", tmp_path / "run"
    assert run_two(cfg, data, folder, accident) == [status, status]
    course = training_state.read(folder / "state.safetensors")["course"]
    assert course["batches"] == batches  # done, whose state is whole
    if accident is interrupted:
        assert run_two(cfg, data, folder) == [0, 0]  # goes on


@forks
def test_two_processes_get_the_weights_of_one(tmp_path: Path) -> None:
    cfg = tmp_path / "net.cfg"
    dropout = "[dropout]\nprobability=.2\n[convolutional]\nfilters=16\n"
    cfg.write_text(shapes.DETECTOR.replace("[convolutional]\nfilters=16\n", dropout))
    data = shapes.draw_detection_set(tmp_path / "shapes")
    assert run_two(cfg, data, tmp_path / "two") == [0, 0]
    run(cfg, data, tmp_path / "one")
    one, two = (dt.load(cfg, tmp_path / each / "net_last.weights") for each in ("one", "two"))
    for name, value in one.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, two.state_dict()[name], atol=1e-5, rtol=0, msg=name)


def test_torchrun_as_the_documentation_has_it(tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text(shapes.DETECTOR)
    data = shapes.draw_detection_set(tmp_path / "shapes")
    command = "--standalone --nproc-per-node 2 --no-python darknet-torch train net.cfg"
    words = [*command.split(), str(data), *"--subdivisions 2 --scratch --max-batches 2".split()]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": path, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words],  # which is torchrun
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (done.stdout + done.stderr).count("2 batches (max_batches)") == 1  # one process reports
    assert (
        training_state.read(tmp_path / "training" / "state.safetensors")["course"]["batches"] == 2
    )
