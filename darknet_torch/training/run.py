"""A training in progress: what it is made of, how far it is, and what others are told of it."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darknet_torch.distributed import Ranks
from darknet_torch.files import write_atomically
from darknet_torch.network import Network
from darknet_torch.training.batches import Batch
from darknet_torch.training.callbacks import BatchReport
from darknet_torch.training.metrics_log import MetricsLog
from darknet_torch.training.options import Precision, TrainOptions
from darknet_torch.training.running_statistics import RunningStatistics
from darknet_torch.training.solver import Solver
from darknet_torch.training.step import BatchLoss, Steps

__all__ = ["Course", "Run"]

LEAST_SHARE, MOST_SHARE = 0.01, 0.1
"""Of a mini-batch in the running statistics: Darknet's, and that in the shortest trainings."""
PARTS = 20
"""In short trainings the statistics are, roughly, those of the last of so many parts of it."""
SMOOTHING = 0.9
"""How much of the average loss stays with each batch, as Darknet prints it."""


class Rate:
    """Images per second of the last batches."""

    def __init__(self) -> None:
        self.last, self.value = time.monotonic(), 0.0

    def add(self, images: int) -> None:
        """Count a batch."""
        now = time.monotonic()
        rate = images / max(now - self.last, 1e-9)
        self.value = rate if not self.value else 0.8 * self.value + 0.2 * rate
        self.last = now

    def pause(self, seconds: float) -> None:
        """Leave out the time of a measurement."""
        self.last += seconds


@dataclass
class Course:
    """How far a training is; it is kept in the state file.

    Attributes:
        subdivisions: parts that a batch is computed in, as they were found to fit into memory.
        dtype: of the activations, as it was chosen at the start.
        first: batches that the weights had seen before this training.
        batches: done so far, those that were skipped included.
        seen: images, those of earlier trainings included, as in the header of weights files. A
            batch counts as the cfg has it, also with `dynamic_minibatch`.
        average_loss: smoothed; None before the first batch.
        best: the best score.
        measured: score of the last measurement.
        without_progress: measurements since the best one.
        elapsed: seconds of training, those before a restart included.
        rate_factor: what `on_nan="lower"` has made of the learning rate.
        skipped: batches in a row without an update.
        stopped: why it ended, if it did: "max_batches", "hours" or "patience".
        start: digest of what it began with, see `run_files.start_of`; older states have none.
    """

    subdivisions: int = 0
    dtype: Precision = "auto"
    first: int = 0
    batches: int = 0
    seen: int = 0
    average_loss: float | None = None
    best: float | None = None
    measured: float | None = None
    without_progress: int = 0
    elapsed: float = 0.0
    rate_factor: float = 1.0
    skipped: int = 0
    stopped: str | None = None
    start: str = ""


@dataclass
class Run:
    """Everything that the loop needs.

    Attributes:
        network: what is trained.
        solver: its optimizer.
        stepper: computes gradients.
        statistics: of batch norm, joined over the processes.
        options: the arguments of `train`.
        score: measures the network; None without validation images.
        score_name: what that is, such as "mAP@0.50".
        lower_is_better: of the score.
        ranks: the processes.
        fingerprint: what must be the same when the training goes on.
        eval_every: batches from one measurement to the next.
        last: number of the last batch.
        course: how far it is.
        other_start: whether it goes on, and began with other weights than those given now.
        batches: of images, on the device that computes.
        log: metrics.csv; in the first process only.
        started, saved, drawn: when this process began, last wrote the state, last drew the chart.
        rate: images per second.
    """

    network: Network
    solver: Solver
    stepper: Steps
    statistics: RunningStatistics
    options: TrainOptions
    ranks: Ranks
    fingerprint: dict[str, Any]
    eval_every: int
    last: int
    score: Callable[[Network], float] | None = None
    score_name: str = ""
    lower_is_better: bool = False
    course: Course = field(default_factory=Course)
    other_start: bool = False
    batches: Iterator[Batch] = iter(())
    log: MetricsLog | None = None
    started: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    drawn: float = -math.inf
    rate: Rate = field(default_factory=Rate)

    @property
    def name(self) -> str:
        """Name of the cfg's file, which those of the training are named after."""
        file = self.network.plan.net.section.file
        return Path(file).stem if file and not file.startswith("<") else "network"

    def path(self, ending: str) -> Path:
        """Return the path of a file of the training."""
        return self.options.path / f"{self.name}{ending}"

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return self.ranks.rank == 0

    @property
    def elapsed(self) -> float:
        """Seconds of training so far."""
        return self.course.elapsed + time.monotonic() - self.started

    def _last_batch(self) -> int:
        """Return the number of the last batch; with `hours` an estimate."""
        hours = self.options.hours
        if hours is None:
            return self.last
        done = max(1, self.course.batches - self.course.first)
        return self.course.first + max(done, round(done * 3600 * hours / self.elapsed))

    def schedule_position(self) -> int:
        """Return the number of this batch in the schedule: with `hours`, by the time that is over.

        Batch 3 of the first minute of two hours is batch 50 of 6000.
        """
        hours = self.options.hours
        if hours is None:
            return self.course.batches
        return max(1, min(self.last, math.ceil(self.elapsed / (3600 * hours) * self.last)))

    def momentum(self) -> float:
        """Return the share of a mini-batch in the running statistics of batch norm.

        It is Darknet's .01, but more in the first mini-batches, whose mean the statistics then are,
        and in short trainings, where .01 would keep those of long ago: of layers that began with
        random values a network would yield nothing for hundreds of batches.
        """
        passes = self.statistics.count * self.ranks.size  # of a batch
        done = (self.course.batches - self.course.first) * passes
        total = max(1, self._last_batch() - self.course.first) * passes
        return max(min(MOST_SHARE, max(LEAST_SHARE, PARTS / total)), 1 / (done + 1))

    def why_to_stop(self) -> str | None:
        """Return why the training ends here, if it does."""
        course, options = self.course, self.options
        if options.hours is not None and self.elapsed >= 3600 * options.hours:
            return "hours"
        if options.hours is None and course.batches >= self.last:
            return "max_batches"
        if options.patience is not None and course.without_progress >= options.patience:
            return "patience"
        return None

    def write_text(self, ending: str, text: str) -> None:
        """Write a text file of the training."""
        write_atomically(self.path(ending), text)

    def tell(self, text: str) -> None:
        """Hand a message to the callbacks."""
        self.call("on_message", text)

    def call(self, method: str, *arguments: object) -> None:
        """Call a method of all callbacks, in the first process."""
        if self.is_first:
            for callback in self.options.callbacks:
                getattr(callback, method)(*arguments)

    def report(self, loss: BatchLoss, rate: float, size: tuple[int, int]) -> None:
        """Log the figures of a batch."""
        course, last = self.course, self._last_batch()
        before = loss.cost if course.average_loss is None else course.average_loss
        course.average_loss = SMOOTHING * before + (1 - SMOOTHING) * loss.cost
        self.rate.add(loss.images)
        left = max(0, last - course.batches) * loss.images / max(self.rate.value, 1e-9)
        if self.options.hours is not None:
            left = min(left, max(0.0, 3600 * self.options.hours - self.elapsed))
        report = BatchReport(
            course.batches, last, course.seen, loss.cost, course.average_loss, loss.parts, rate,
            size, self.rate.value, left,
        )  # fmt: skip
        if self.log is not None:
            row = {"batch": course.batches, "seen": course.seen, "loss": loss.cost}
            row |= {"average_loss": course.average_loss, "learning_rate": rate}
            row |= {"width": size[0], "height": size[1]}
            self.log.add(row | dict(loss.parts))
        self.call("on_batch", report)

    def close(self) -> None:
        """Finish the log and tell the callbacks."""
        self.statistics.end()
        if self.log is not None:
            self.log.close()
        self.call("on_end")
