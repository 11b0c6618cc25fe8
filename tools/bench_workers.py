"""Processes that wait while others run, and run when they are told to: they take turns."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

__all__ = ["Turn", "quartiles_of_ratios", "start_worker", "take_turn"]

ENGINE = str(Path(__file__).with_name("bench_engine.py"))


class Turn(NamedTuple):
    """Milliseconds of a pass: by the clock, and of all cores together."""

    ms: float
    busy_ms: float


def start_worker(
    job: dict[str, Any],
    python: str = sys.executable,
    package: Path | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> "subprocess.Popen[str]":
    """Start a process that does a job of bench_engine, once it has its turn.

    Args:
        job: for `bench_engine.work`.
        python: the interpreter.
        package: the checkout whose package it runs; None is this one's.
        settings: variables of its environment.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(job["threads"]), **settings}
    if package is not None:
        environment["PYTHONPATH"] = str(package.resolve())
        job = {**job, "package": environment["PYTHONPATH"]}
    return subprocess.Popen(
        [python, ENGINE, json.dumps(job)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def take_turn(worker: "subprocess.Popen[str]") -> Turn | None:
    """Let a worker run; what a pass took, or None if the worker is gone."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write("go\n")
        worker.stdin.flush()
        ms, busy = map(float, worker.stdout.readline().split())
    except (BrokenPipeError, ValueError):
        return None
    return Turn(ms, busy)


def quartiles_of_ratios(mine: list[float], others: list[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile of ratios, round by round."""
    ratios = [a / b for a, b in zip(mine, others, strict=True)]
    low, middle, high = statistics.quantiles(ratios)
    return low, middle, high
