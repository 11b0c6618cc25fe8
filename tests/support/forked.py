"""Trainings in processes of their own, which are forks of a process that has computed nothing.

A process that has computed must not be forked: OpenMP's threads, and whoever holds a lock, are
missing in the child, which may wait for ever.
"""

import itertools
import math
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

import darknet_torch as dt
from darknet_torch.errors import TrainingError
from darknet_torch.layers.truth import Loss
from darknet_torch.training import step
from darknet_torch.training.callbacks import BatchReport, Callback
from darknet_torch.training.loop import train
from darknet_torch.training.result import TrainingResult

SERVER = "forkserver"
needs_forks = pytest.mark.skipif(
    SERVER not in multiprocessing.get_all_start_methods(), reason="no server of forks here"
)
Accident = Callable[[dict[int, Loss]], dict[int, Loss]]
NOT_FINITE, INTERRUPTED = 7, 8
BATCH = 8


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


class StopAfter(Callback):
    """Interrupts after some batches."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_batch(self, report: BatchReport) -> None:
        if report.batch >= self.batches:
            os.kill(os.getpid(), signal.SIGINT)


def run_sizes(cfg: Path, data: Path, folder: Path) -> TrainingResult:
    """Train for four batches around the 20th, where the size and the number of images change."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = dt.build(cfg)
    network.header = network.header._replace(seen=18 * BATCH)
    options = {"subdivisions": 4, "dynamic_minibatch": 1, "yolo.random": 1}
    stop = [StopAfter(22)]
    return train(
        network, data, folder=folder, workers=0, max_batches=300, seed=3, options=options,
        callbacks=stop,
    )  # fmt: skip


def started(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Run a function of tests/support in a process."""
    context = multiprocessing.get_context(SERVER)
    context.set_forkserver_preload(["darknet_torch.training.loop"])
    process = context.Process(target=function, args=arguments)
    process.start()
    return process


def run_as_rank(
    rank: int,
    port: int,
    cfg: Path,
    data: Path,
    folder: Path,
    accident: Accident | None,
    how: Callable[[Path, Path, Path], TrainingResult],
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
        result = how(cfg, data, folder)
    except TrainingError:
        sys.exit(NOT_FINITE)
    sys.exit(INTERRUPTED if result.stopped == "interrupt" else 0)


def run_two(
    cfg: Path,
    data: Path,
    folder: Path,
    accident: Accident | None = None,
    how: Callable[[Path, Path, Path], TrainingResult] = run,
) -> list[Any]:
    """Train with two processes, of which the second has an accident; return their exit statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (port, cfg, data, folder, accident, how)
    processes = [started(run_as_rank, rank, *arguments) for rank in range(2)]
    for process in processes:
        process.join(120)
        process.kill()
    return [process.exitcode for process in processes]


def run_with_saves(cfg: Path, data: Path, folder: Path) -> None:
    """Train for 16 batches, with a save every four."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    options = {"folder": folder, "workers": 0, "max_batches": 16, "save_every": 4}
    train(dt.build(cfg), data, **options)  # type: ignore[arg-type]
