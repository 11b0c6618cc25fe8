"""What a training shows on the terminal."""

import shlex
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from darknet_torch.cli.output import inform, is_quiet
from darknet_torch.training.callbacks import BatchReport, Callback, ScoreReport

if TYPE_CHECKING:
    from darknet_torch.training.result import TrainingResult

__all__ = ["TrainingDisplay", "command_of"]

EVERY = 10.0
"""Seconds from one line to the next where there is no terminal."""


class TrainingDisplay(Callback):
    """Shows the course of a training: a bar on a terminal, else a line every ten seconds."""

    def __init__(self) -> None:
        from tqdm import tqdm

        hidden = is_quiet() or not sys.stderr.isatty()
        self.bar = tqdm(unit="batch", disable=hidden, leave=False)
        self.shown = time.monotonic()

    def on_message(self, text: str) -> None:
        """Print a message."""
        inform(text)

    def on_batch(self, report: BatchReport) -> None:
        """Show the figures of a batch."""
        parts = ", ".join(f"{name} {value:.3g}" for name, value in report.parts.items())
        line = (
            f"loss {report.loss:.4g}, average {report.average_loss:.4g} ({parts}),"
            f" rate {report.learning_rate:.3g}, {report.size[0]} x {report.size[1]},"
            f" {report.images_per_second:.1f} images/s"
        )
        self.bar.total, self.bar.desc = report.batches, line
        self.bar.update(report.batch - self.bar.n)
        if self.bar.disable and time.monotonic() - self.shown >= EVERY:
            self.shown = time.monotonic()
            left = timedelta(seconds=round(report.remaining))
            inform(f"batch {report.batch} of {report.batches}: {line}, {left} left")

    def on_score(self, report: ScoreReport) -> None:
        """Print the figure of a measurement."""
        best = ", the best so far" if report.score == report.best else f", best {report.best:.3f}"
        inform(f"batch {report.batch}: {report.name} {report.score:.3f}{best}")

    def on_end(self) -> None:
        """Take the bar away."""
        self.bar.close()


def command_of(result: "TrainingResult") -> str:
    """Return a line with the command that uses what was trained; "" where there is none."""
    from darknet_torch.parsing import dialect
    from darknet_torch.training.losses import node_with_masks

    plan, own = result.network.plan, result.network.plan.context.dialect
    files = shlex.join((str(result.cfg), str(result.weights)))
    fork = "" if own == dialect.get(None) else f" --dialect {own.name}"  # a cfg does not say it
    if plan.input.is_vector:
        return f'darknet-torch generate {files}{fork} --seed "..." writes such a text'
    if plan.heads:
        return f"darknet-torch detect {files}{fork} IMAGE ... uses it"
    masks = node_with_masks(plan) is not None
    return "" if masks else f"darknet-torch classify {files}{fork} IMAGE ... uses it"
