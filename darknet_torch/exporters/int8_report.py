"""What 8 bits cost and bring: score and time of a file beside the same file in float32.

print(compare(network, "my.onnx", "my.yaml"))
#              float32    int8
# mAP@.5        44.24 %  43.61 %  -0.63
# an image      26.0 ms  15.1 ms   0.58 x
"""

import statistics
import time
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from darknet_torch import data
from darknet_torch.exporters.calibration import is_labelled, score
from darknet_torch.exporters.export import export
from darknet_torch.inference.engines import engine_for
from darknet_torch.loading import load
from darknet_torch.network import Network, Runnable

__all__ = ["Int8Report", "compare"]

ROUNDS = 9


@dataclass(frozen=True)
class Int8Report:
    """Float32 and 8 bits side by side.

    Args:
        measure: "mAP@.5" or "top 1".
        scores: of float32 and of 8 bits in percent; None without labels.
        seconds: of an image, median; of float32 and of 8 bits, in turns.
    """

    measure: str
    scores: tuple[float, float] | None
    seconds: tuple[float, float]

    def __str__(self) -> str:
        slow, fast = (1e3 * each for each in self.seconds)
        lines = ["             float32     int8"]
        if self.scores is not None:
            before, after = self.scores
            lines.append(f"{self.measure:10} {before:7.2f} % {after:6.2f} %  {after - before:+.2f}")
        lines.append(f"an image   {slow:6.1f} ms {fast:5.1f} ms   {fast / slow:.2f} x")
        return "\n".join(lines)


def compare(
    network: Network,
    path: str | PathLike[str],
    source: str | PathLike[str],
    *,
    engine: str | None = None,
    python: str | None = None,
) -> Int8Report:
    """Measure a file in 8 bits beside the same format in float32, in the same engine.

    Args:
        network: what the file was converted from.
        path: the file.
        source: a data set; without labels only the time is measured.
        engine: see `verify`; None is the first that is installed and takes the file.
        python: an interpreter that has the format's converter, see `export`.

    Raises:
        UsageError: no engine for the file is installed.
    """
    path = Path(path)
    engine = engine_for(path, engine)
    dataset = data.read(source, needs_labels=False)
    with TemporaryDirectory() as folder:
        exact = Path(folder) / path.name
        ours = load(path, engine=engine)
        export(network, exact, contents=ours.contents, python=python)
        pair = load(exact, engine=engine), ours
        seconds = _seconds(pair, network)
        labelled = is_labelled(dataset)
        scores = (score(pair[0], dataset), score(pair[1], dataset)) if labelled else None
    return Int8Report("mAP@.5" if network.plan.heads else "top 1", scores, seconds)


def _seconds(pair: tuple[Runnable, Runnable], network: Network) -> tuple[float, float]:
    """Return the median seconds of a pass of each, in turns."""
    x = torch.rand(1, *network.plan.input, generator=torch.Generator().manual_seed(0))
    found: tuple[list[float], list[float]] = [], []
    for _ in range(ROUNDS):
        for each, times in zip(pair, found, strict=True):
            each(x)  # with warm caches
            start = time.perf_counter()
            each(x)
            times.append(time.perf_counter() - start)
    return statistics.median(found[0]), statistics.median(found[1])
