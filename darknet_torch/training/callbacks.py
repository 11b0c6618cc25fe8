"""What a training tells those who watch it: bars, loggers, experiment trackers."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BatchReport", "Callback", "ScoreReport"]


@dataclass(frozen=True)
class BatchReport:
    """One batch that was trained with.

    Attributes:
        batch: its number, from 1.
        batches: number of the last batch, as far as it is known.
        seen: images of this and all batches before, those of earlier trainings included.
        loss: what Darknet prints: the mean cost of an image.
        average_loss: the same, smoothed (.9 of the value before).
        parts: name of a part of the loss -> its mean by image.
        learning_rate: of this batch.
        size: width and height of the images, in pixels.
        images_per_second: of the last batches.
        remaining: seconds until the end, estimated.
    """

    batch: int
    batches: int
    seen: int
    loss: float
    average_loss: float
    parts: Mapping[str, float]
    learning_rate: float
    size: tuple[int, int]
    images_per_second: float
    remaining: float


@dataclass(frozen=True)
class ScoreReport:
    """One measurement on the validation images.

    Attributes:
        batch: number of the batch after which it was made.
        name: of the figure, such as "mAP@0.50" or "top 1".
        score: in 0..1.
        best: the best one so far, this one included.
    """

    batch: int
    name: str
    score: float
    best: float


class Callback:
    """Base class of what watches a training; methods that are not overridden do nothing.

    Under several processes only the first one's callbacks are called.
    """

    def on_message(self, text: str) -> None:
        """Take a line about the data, the files, or the course of the training."""

    def on_batch(self, report: BatchReport) -> None:
        """Take the figures of a batch."""

    def on_score(self, report: ScoreReport) -> None:
        """Take the figure of a measurement."""

    def on_end(self) -> None:
        """Finish: the training has ended, in whatever way."""
