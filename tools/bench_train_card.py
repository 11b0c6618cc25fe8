"""Training on a graphics card: the loop beside bare passes; `tools/bench.py train --device cuda`.

The loop reads, augments and trains; bare passes take images that lie on the card. They are measured
before the loop and behind it.
"""

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench_train import Bare, some_network
from bench_turns import seconds_of

if TYPE_CHECKING:
    from darknet_torch.network import Network

__all__ = ["compare_on_card"]

NETWORKS = ("yolov4-tiny", "yolov2")
BATCH = 64
"""Images of a batch, which is one mini-batch."""
STEPS = 40
"""Batches of a turn; those of the first turn of the loop do not count."""
TURNS = 3
BOUND = 0.85


def compare_on_card(data: Path, folder: Path, device: str) -> None:
    """Print the images a second of each network, compiled and not.

    Args:
        data: description of a data set.
        folder: for the files of the trainings.
        device: name of a card.
    """
    for name in NETWORKS:
        for compiled in (False, True):
            _compare(name, data, folder / f"{name} {compiled}", device, compiled=compiled)


def _compare(name: str, data: Path, folder: Path, device: str, *, compiled: bool) -> None:
    import torch

    from darknet_torch.network.device import as_device

    card = as_device(device)
    bare = Bare(some_network(name).to(card), images=BATCH, compiled=compiled)

    def steps() -> None:
        for _ in range(STEPS):
            bare.step()
        torch.cuda.synchronize(card)

    def rate() -> float:
        return STEPS * BATCH / seconds_of(steps)

    steps()
    plain = [rate() for _ in range(TURNS)]
    loop = _loop_rate(some_network(name).to(card), data, folder, compiled=compiled)
    middle = statistics.median([*plain, *(rate() for _ in range(TURNS))])
    how = "compiled" if compiled else "not compiled"
    print(
        f"train {name}, batch {BATCH}, {how}, {torch.cuda.get_device_name(card)}: {loop:.0f}"
        f" images/s = {loop / middle:.2f} x bare, {middle:.0f} (bound {BOUND})",
        flush=True,
    )


def _loop_rate(network: "Network", data: Path, folder: Path, *, compiled: bool) -> float:
    """Return the images a second of the loop, with decoded images in memory."""
    from darknet_torch.data import read
    from darknet_torch.training.callbacks import BatchReport, Callback
    from darknet_torch.training.loop import train

    class Times(Callback):
        """When each batch ended."""

        def __init__(self) -> None:
            self.seconds = list[float]()

        def on_batch(self, report: BatchReport) -> None:
            self.seconds.append(time.perf_counter())

    times, head = Times(), network.plan.head_layers[0].section.name
    train(
        network,
        read(data, "train"),
        folder=folder,
        batch=BATCH,
        subdivisions=1,
        max_batches=TURNS * STEPS,
        options={f"{head}.random": 0},  # bare passes have one size
        cache="ram",
        compile=compiled,
        eval_every=10**6,
        callbacks=[times],
    )
    steady = times.seconds[STEPS:]
    return (len(steady) - 1) * BATCH / (steady[-1] - steady[0])
