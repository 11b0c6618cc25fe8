"""The results of a data set's images: in batches, resumed from a cache, by several processes."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from darknet_torch.data.dataset import Array, Dataset
from darknet_torch.distributed import Ranks, shares
from darknet_torch.evaluation.cache import RECORD_COLUMNS, Record, RecordCache, decode, encode
from darknet_torch.inference.streaming import Outcomes
from darknet_torch.network import Runnable
from darknet_torch.progress import Progress

__all__ = ["EvaluationTask", "RunSettings", "collect_records"]


class EvaluationTask(NamedTuple):
    """What is computed of each image.

    Attributes:
        network: that is measured.
        stream: paths of images -> outcomes, in batches of `batch_size`.
        rows: a result -> (N, 6), see `Record`.
        batch_size: images of a batch.
        settings: all that the results depend on, besides network and images.
    """

    network: Runnable
    stream: Callable[[Iterable[Any]], Outcomes[Any]]
    rows: Callable[[Any], Array]
    batch_size: int
    settings: str


class RunSettings(NamedTuple):
    """How the images are processed.

    Attributes:
        cache: folder for the records, None for no cache.
        progress: called with (images done, images in all) of this process.
        group: the processes that share the work.
    """

    cache: str | PathLike[str] | None
    progress: Progress | None
    group: Ranks


def collect_records(
    task: EvaluationTask, dataset: Dataset, settings: RunSettings
) -> dict[int, Record]:
    """Return the records of all images, by index in the data set.

    Batches are the same for any number of processes, so that the records are, too. Every process
    of the group must call this, and gets all records.
    """
    group = settings.group
    size, total = task.batch_size, len(dataset)
    batches = [range(first, min(first + size, total)) for first in range(0, total, size)]
    pixels = [
        sum(each.width * each.height for each in dataset.samples[batch.start : batch.stop])
        for batch in batches
    ]
    mine = [batches[index] for index in shares(pixels, group.size)[group.rank]]
    known = _own_records(task, dataset, mine, settings)
    own = [known[number] for batch in mine for number in batch]
    if group.size == 1:
        return {record.image: record for record in own}
    parts = group.gather("".join(map(encode, own)).encode())
    lines = (line for part in parts for line in part.decode().splitlines())
    return dict(sorted((record.image, record) for record in decode(lines)))


def _own_records(
    task: EvaluationTask, dataset: Dataset, batches: Sequence[range], settings: RunSettings
) -> dict[int, Record]:
    """Read the cache, compute the batches that it lacks, and add them to it."""
    with ExitStack() as stack:
        known: dict[int, Record] = {}
        cache = None
        if settings.cache is not None:
            folder, rank = Path(settings.cache), settings.group.rank
            cache = RecordCache(folder, _key(task, dataset), rank)
            known = cache.read()
            stack.enter_context(cache)
        todo = [n for batch in batches if not known.keys() >= set(batch) for n in batch]
        total = sum(map(len, batches))
        for done, record in enumerate(_run(task, dataset, todo), start=total - len(todo) + 1):
            known[record.image] = record
            if cache is not None:
                cache.add([record])
            if settings.progress is not None:
                settings.progress(done, total)
    return known


def _run(task: EvaluationTask, dataset: Dataset, numbers: Sequence[int]) -> Iterator[Record]:
    """Yield the records of whole batches of images, in their order."""
    paths = [dataset.samples[number].path for number in numbers]
    with closing(task.stream(paths)) as outcomes:
        for number, outcome in zip(numbers, outcomes, strict=True):
            if outcome.result is None:
                yield Record(number, np.zeros((0, RECORD_COLUMNS), np.float32), str(outcome.error))
            else:
                yield Record(number, task.rows(outcome.result))


def _key(task: EvaluationTask, dataset: Dataset) -> str:
    """Return a digest of what the records depend on.

    For the network stand its outputs for a batch of noise, which exist for networks, optimized ones
    and converted files alike.
    """
    plan = task.network.plan
    settings = f"{plan.text}\n{plan.context.dialect.name}\n{task.settings}\n"
    total = hashlib.sha256(settings.encode("utf-8", "surrogateescape"))
    noise = torch.rand(task.batch_size, *plan.input, generator=torch.Generator().manual_seed(1))
    network = task.network
    with torch.inference_mode():
        outputs = network(noise.to(network.device, network.input_dtype))
    for output in outputs if isinstance(outputs, tuple) else (outputs,):
        total.update(output.float().cpu().contiguous().numpy().tobytes())
    for sample in dataset.samples:
        status = sample.path.stat() if sample.path.is_file() else None
        stamp = (status.st_size, status.st_mtime_ns) if status else ()
        total.update(f"{sample.path} {stamp}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()
