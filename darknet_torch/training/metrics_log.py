"""What a training writes down: metrics.csv, a chart of it, and TensorBoard's events.

A row of metrics.csv is about one batch; after a restart the rows of batches that are computed again
are dropped, so that the file is that of a training without interruption.
"""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darknet_torch.errors import UsageError
from darknet_torch.extras import require
from darknet_torch.files import read_bytes, write_atomically

__all__ = ["COLUMNS", "MetricsLog", "draw_chart", "read_rows"]

COLUMNS = ("batch", "seen", "loss", "average_loss", "learning_rate", "score", "width", "height")
"""The first columns; the parts of the loss follow. `score` is mAP or top 1, where it was measured;
it is empty elsewhere."""
LARGEST = 1 << 30
"""Bytes of the largest metrics.csv that is read."""
Row = Mapping[str, float | int | None]


class MetricsLog:
    """The rows of a training in a file, and in TensorBoard if that is wanted.

    Args:
        folder: where metrics.csv lies.
        batches: done already; later rows are dropped.
        tensorboard: write events into the folder `tensorboard` too.

    Raises:
        UsageError: the file cannot be written, or TensorBoard is not installed.
    """

    def __init__(self, folder: Path, batches: int, *, tensorboard: bool = False) -> None:
        self.path = folder / "metrics.csv"
        heading, *lines = _lines(self.path) or [""]
        kept = [line for line in lines if _batch_of(line, heading) <= batches]
        self.columns = tuple(heading.split(",")) if kept else COLUMNS
        text = "".join(f"{line}\n" for line in (heading, *kept)) if kept else ""
        write_atomically(self.path, text)
        self._events: Any = None
        if tensorboard:
            module = require("torch.utils.tensorboard", "tensorboard")
            self._events = module.SummaryWriter(folder / "tensorboard", purge_step=batches + 1)

    def add(self, row: Row) -> None:
        """Append a row.

        Raises:
            UsageError: the file cannot be written.
        """
        begins = self.columns == COLUMNS
        if begins:  # the parts of the loss are known now
            self.columns = (*COLUMNS, *(name for name in row if name not in COLUMNS))
        try:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(_text(self.columns, [row], heading=begins))
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be written: {error.strerror}") from error
        if self._events is not None:
            for name, value in row.items():
                if name != "batch" and value is not None:
                    self._events.add_scalar(name, value, row["batch"])

    def close(self) -> None:
        """Finish TensorBoard's file."""
        if self._events is not None:
            self._events.close()


def _text(columns: tuple[str, ...], rows: list[Any], *, heading: bool = False) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", extrasaction="ignore", lineterminator="\n")
    if heading:
        writer.writeheader()
    for row in rows:
        writer.writerow({name: "" if _is_empty(value) else value for name, value in row.items()})
    return out.getvalue()


def _is_empty(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _lines(path: Path) -> list[str]:
    """Return the lines of a file; none if there is no file."""
    if not path.is_file():
        return []
    return read_bytes(path, LARGEST, UsageError, "a metrics").decode("utf-8", "replace").split("\n")


def _batch_of(line: str, heading: str) -> float:
    """Return the batch of a row; infinity for a line that was cut off as the process was killed."""
    cells = line.split(",")
    return int(cells[0]) if len(cells) == heading.count(",") + 1 else math.inf


def read_rows(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.csv; NaN stands for an empty cell."""
    heading, *lines = _lines(path) or [""]
    names, rows = heading.split(","), [line.split(",") for line in lines]
    return [
        {name: float(cell) if cell else math.nan for name, cell in zip(names, row, strict=True)}
        for row in rows
        if len(row) == len(names)
    ]


def draw_chart(
    rows: list[dict[str, float]], path: Path, score: str, *, lower_is_better: bool = False
) -> None:
    """Draw loss, learning rate and score over the batches as PNG.

    Args:
        rows: of metrics.csv.
        path: of the PNG.
        score: what the score is called, such as "mAP@0.50".
        lower_is_better: of the score; it is in 0..1 otherwise.

    Raises:
        UsageError: matplotlib is not installed, or the file cannot be written.
    """
    figure = require("matplotlib.figure", "plot").Figure(figsize=(9, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    trained = [row for row in rows if not math.isnan(row["loss"])]
    batches = [row["batch"] for row in trained]
    upper.plot(batches, [row["loss"] for row in trained], color="0.8", linewidth=0.6, label="loss")
    average = [row["average_loss"] for row in trained]
    upper.plot(batches, average, color="#0072B2", linewidth=1.6, label="average loss")
    finite = sorted(value for value in average if math.isfinite(value))
    if finite:  # the first batches' losses would flatten all others
        upper.set_ylim(0, 1.5 * finite[min(len(finite) - 1, int(0.95 * len(finite)))] or 1)
    upper.set_ylabel("loss")
    measured = [(row["batch"], row["score"]) for row in rows if not math.isnan(row["score"])]
    if measured:
        right = upper.twinx()
        right.plot(*zip(*measured, strict=True), "o-", color="#D55E00", markersize=3, label=score)
        values = [value for _, value in measured]
        best = min(values) if lower_is_better else max(values)
        right.set(ylim=(0, 1.1 * max(values) if lower_is_better else 1), ylabel=score)
        upper.set_title(f"{score} {measured[-1][1]:.3f}, best {best:.3f}")
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    lower.plot(batches, [row["learning_rate"] for row in trained], color="#009E73")
    lower.set(xlabel="batch", ylabel="learning rate")
    for axes in (upper, lower):
        axes.grid(color="0.92")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    write_atomically(path, content.getvalue())
