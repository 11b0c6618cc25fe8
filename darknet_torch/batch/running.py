"""Units of images through detectors: in this process, or in the workers of a Ray cluster."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from darknet_torch.batch.detector import RESULT_COLUMNS, RayDetector
from darknet_torch.batch.inputs import Unit
from darknet_torch.batch.output import Output
from darknet_torch.errors import DarknetError, UsageError
from darknet_torch.extras import require
from darknet_torch.safety.threads import Pool

__all__ = ["Done", "run_here", "run_on_ray"]

T = TypeVar("T")

AT_ONCE = 64
"""Images that a worker detects in at once, while the files of as many more are read."""


class Done(NamedTuple):
    """What came of a unit: how many images, and how many of them could not be read."""

    images: int
    broken: int
    error: str = ""


class Worker:
    """Reads units, detects, and writes their parts.

    Args:
        detector: of the images' contents.
        output: address of the folder of results.
        column: of Parquet files: that which holds the contents of images.
    """

    def __init__(self, detector: RayDetector, output: str, column: str) -> None:
        self.detector, self.output, self.column = detector, Output(output), column

    def run(self, unit: Unit) -> Done:
        """Write the part of a unit; of a shard that cannot be read only the error is returned."""
        columns: dict[str, list[Any]] = {name: [] for name in ("path", *RESULT_COLUMNS)}
        try:
            for paths, contents in _one_ahead(self._chunks(unit)):
                self._append(columns, paths, contents)
        except DarknetError as error:
            return Done(0, 0, str(error))
        self.output.write(unit.name, columns)
        return Done(len(columns["path"]), sum(map(bool, columns["error"])))

    def _chunks(self, unit: Unit) -> Iterator[tuple[list[str], list[bytes | str]]]:
        paths, contents = list[str](), list[bytes | str]()
        for path, content in unit.items(self.column):
            paths.append(path)
            contents.append(content)
            if len(paths) == AT_ONCE:
                yield paths, contents
                paths, contents = [], []
        if paths:
            yield paths, contents

    def _append(
        self, columns: dict[str, list[Any]], paths: list[str], contents: list[bytes | str]
    ) -> None:
        # what could not be fetched has its reason in place of its content
        found = self.detector({"bytes": [b"" if isinstance(c, str) else c for c in contents]})
        columns["path"] += paths
        for name in RESULT_COLUMNS:
            columns[name] += list(found[name])
        start = len(columns["error"]) - len(contents)
        for number, content in enumerate(contents):
            if isinstance(content, str):
                columns["error"][start + number] = content


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items of an iterator, which works on the next one in a thread meanwhile."""
    with Pool(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def run_here(
    units: Sequence[Unit], detector: RayDetector, output: str, column: str
) -> Iterator[Done]:
    """Run units one after the other in this process."""
    worker = Worker(detector, output, column)
    yield from map(worker.run, units)


def run_on_ray(
    units: Sequence[Unit],
    detector: RayDetector,
    output: str,
    column: str,
    *,
    address: str | None = None,
    workers: int | None = None,
) -> Iterator[Done]:
    """Run units in the workers of a Ray cluster; what a lost worker had begun is done again.

    A part has its name only when it is complete, and its name is made from its images: a unit that
    is done twice gives the same file.

    Args:
        units: what is to be done.
        detector: of the images' contents; a worker takes a GPU where the cluster has some.
        output: address of the folder of results, which all machines reach.
        column: of Parquet files: that which holds the contents of images.
        address: of the cluster; None is the one that this machine belongs to, or a local one.
        workers: number of workers; None is one a GPU, or one a processor.

    Raises:
        UsageError: ray is not installed, or the cluster has no room for a worker.
    """
    ray = require("ray", "ray")
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    resources = ray.cluster_resources()
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    count = min(len(units), workers or gpus or cpus)
    if count < 1 and units:
        raise UsageError("ray: the cluster has neither a GPU nor a processor")
    remote = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, max_restarts=-1)(Worker)
    actor = remote.options(max_task_retries=-1)
    pool = ray.util.ActorPool([actor.remote(detector, output, column) for _ in range(count)])
    if units:
        yield from pool.map_unordered(lambda worker, unit: worker.run.remote(unit), units)
