"""`darknet-torch train` as a process that is killed, or as several that share each batch."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import shapes
from trainings import Result

SCRIPT = Path(sys.executable).parent / "darknet-torch"
TORCHRUN = "-m torch.distributed.run --standalone --no-python --nproc-per-node"
DROPOUT = "[dropout]\nprobability=.2\n[convolutional]\nfilters=16\n"
LIMIT = 900
"""Seconds that a process may take."""
KILLS, TOLERANCE = 20, 1e-5


def set_up(folder: Path, *, dropout: bool = False, **options: object) -> list[str]:
    """Write a cfg and a data set of drawn shapes; return the arguments of `train`."""
    cfg = shapes.DETECTOR
    for name, value in ({"subdivisions": 4} | options).items():
        lines = [f"{name}={value}" if line.startswith(f"{name}=") else line for line in
                 cfg.splitlines()]  # fmt: skip
        cfg = "\n".join(lines) + "\n"
        if f"\n{name}=" not in cfg:
            cfg = cfg.replace("[net]\n", f"[net]\n{name}={value}\n")
    if dropout:
        before, head, after = cfg.rpartition("[convolutional]\nfilters=16\n")
        cfg = before + DROPOUT + after if head else cfg
    (folder / "net.cfg").write_text(cfg)
    data = shapes.draw_detection_set(folder / "shapes")
    return ["train", str(folder / "net.cfg"), str(data), "--scratch", "--eval-every", "50"]


def start(arguments: Sequence[str], ranks: int = 0) -> subprocess.Popen[str]:
    """Start the command; with `ranks`, under torchrun. Each process computes on one core."""
    before = [sys.executable, *TORCHRUN.split(), str(ranks)] if ranks else []
    return subprocess.Popen(
        [*before, SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def finish(process: subprocess.Popen[str], statuses: Sequence[int] = (0,)) -> str:
    """Return the output of a process.

    Raises:
        AssertionError: its exit status is another.
    """
    try:
        output, _ = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode in statuses, f"exit status {process.returncode}: {output[-2000:]}"
    return output


def floats(folder: Path) -> npt.NDArray[np.float32]:
    """Return the floats behind the header of the last weights."""
    return np.frombuffer((folder / "net_last.weights").read_bytes(), "<f4", offset=20)


def difference(a: Path, b: Path) -> float:
    """Return the largest difference between the weights of two trainings."""
    return float(np.abs(floats(a) - floats(b)).max())


def killed_many_times(folder: Path, kills: int, batches: int = 600, seed: int = 0) -> list[str]:
    """Kill a training at random instants, let it go on each time, and compare with an unkilled one.

    Returns:
        What is not the same, bit for bit.
    """
    command = [*set_up(folder, max_batches=batches), "--save-every", "5"]
    begin = time.monotonic()
    process = start([*command, "--folder", str(folder / "whole")])
    while not (folder / "whole" / "metrics.csv").exists() and process.poll() is None:
        time.sleep(0.01)
    starting = time.monotonic() - begin
    finish(process)
    training = time.monotonic() - begin - starting
    draw = random.Random(seed)
    for _ in range(kills):
        process = start([*command, "--folder", str(folder / "parts")])
        time.sleep(starting * 0.9 + draw.random() * 1.5 * training / kills)
        process.kill()
        process.communicate()
    finish(start([*command, "--folder", str(folder / "parts")]))
    files = ("net_last.weights", "net_5.weights", "metrics.csv")
    pairs = {each: [(folder / run / each).read_bytes() for run in ("whole", "parts")]
             for each in files}  # fmt: skip
    return [f"{name}: not the same" for name, (one, other) in pairs.items() if one != other]


def ranks_agree(
    folder: Path, sizes: Sequence[int], *, dropout: bool = False, **options: object
) -> dict[int, float]:
    """Train ten batches with one process, and with several that share each batch.

    Returns:
        Number of processes -> the largest difference of a weight from that of one process.
    """
    command = set_up(folder, dropout=dropout, max_batches=10, **options)
    finish(start([*command, "--folder", str(folder / "1")]))
    for size in sizes:
        finish(start([*command, "--folder", str(folder / str(size))], size))
    return {size: difference(folder / "1", folder / str(size)) for size in sizes}


def ranks_go_on(folder: Path, size: int = 2, batches: int = 40) -> float:
    """Stop several processes in the midst of a training, and let them go on.

    Returns:
        The largest difference of a weight from that of as many that were not stopped.
    """
    command = [*set_up(folder, max_batches=batches), "--save-every", "4"]
    finish(start([*command, "--folder", str(folder / "whole")], size))
    process = start([*command, "--folder", str(folder / "parts")], size)
    while not (folder / "parts" / "state.safetensors").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)  # torchrun hands it on
    finish(process, range(-64, 256))
    assert not (folder / "parts" / f"net_{batches}.weights").exists(), "it was not stopped in time"
    finish(start([*command, "--folder", str(folder / "parts")], size))
    return difference(folder / "whole", folder / "parts")


def _kill(folder: Path, result: Result) -> None:
    result.failures += killed_many_times(folder, KILLS)


def _plain(folder: Path, result: Result) -> None:
    _compare(ranks_agree(folder, (1, 2, 4)), result)


def _random(folder: Path, result: Result) -> None:
    _compare(ranks_agree(folder, (2, 4), dropout=True, ema_alpha=0.9), result)


def _stopped(folder: Path, result: Result) -> None:
    _compare({2: ranks_go_on(folder)}, result)


def _compare(differences: Mapping[int, float], result: Result) -> None:
    result.error = max(differences.values())
    result.failures += [
        f"{size} processes: weights differ by {value:.1e}"
        for size, value in differences.items()
        if not value <= TOLERANCE
    ]


JOBS: Mapping[str, Callable[[Path, Result], None]] = {
    "killed at random instants": _kill,
    "1, 2 and 4 processes": _plain,
    "2 and 4 processes, dropout, average": _random,
    "2 processes, stopped": _stopped,
}
"""What `tools/check --training` does besides the cfgs."""


def measure(name: str, threads: int) -> list[Result]:
    """Return the result of a job."""
    result, begin = Result(name, "processes"), time.monotonic()
    with TemporaryDirectory() as folder:
        try:
            JOBS[name](Path(folder), result)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            result.failures.append(str(error))
    result.seconds = time.monotonic() - begin
    result.state = "FAILED" if result.failures else "ok"
    return [result]
