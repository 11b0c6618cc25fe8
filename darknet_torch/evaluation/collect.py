"""Going through a data set's pictures: in batches, from where it stopped, by several processes."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from darknet_torch.data import Dataset
from darknet_torch.distributed import Ranks
from darknet_torch.evaluation.cache import WIDTH, Record, Records, decode, encode
from darknet_torch.inference.streaming import Outcomes
from darknet_torch.network import Runnable
from darknet_torch.progress import Progress

__all__ = ["How", "Work", "find"]

Array = npt.NDArray[Any]


class Work(NamedTuple):
    """What is done with pictures.

    stream: paths -> outcomes, in batches of `batch_size`; rows: a result -> (N, 6), see `Record`;
    settings: all that the results depend on, besides network and pictures.
    """

    network: Runnable
    stream: Callable[[Iterable[Any]], Outcomes[Any]]
    rows: Callable[[Any], Array]
    batch_size: int
    settings: str


class How(NamedTuple):
    """Where to keep findings, whom to tell, and who else works on it."""

    cache: str | PathLike[str] | None
    progress: Progress | None
    group: Ranks


def find(work: Work, dataset: Dataset, how: How) -> dict[int, Record]:
    """Return the records of all pictures, by place in the data set.

    Batches are the same whoever computes them, so that the records do not depend on it.
    """
    size, total = work.batch_size, len(dataset)
    batches = [range(first, min(first + size, total)) for first in range(0, total, size)]
    mine = batches[how.group.rank :: how.group.size]
    known = _find(work, dataset, mine, how)
    own = [known[number] for batch in mine for number in batch]
    if how.group.size == 1:
        return {record.picture: record for record in own}
    parts = how.group.gather("".join(map(encode, own)).encode())
    lines = (line for part in parts for line in part.decode().splitlines())
    return dict(sorted((record.picture, record) for record in decode(lines)))


def _find(work: Work, dataset: Dataset, batches: Sequence[range], how: How) -> dict[int, Record]:
    """Take from the cache what is there, compute the rest, and keep it there."""
    with ExitStack() as stack:
        known: dict[int, Record] = {}
        file = None
        if how.cache is not None:
            file = Records(Path(how.cache), _key(work, dataset), how.group.rank)
            known = file.read()
            stack.enter_context(file)
        todo = [n for batch in batches if not known.keys() >= set(batch) for n in batch]
        total = sum(map(len, batches))
        for done, record in enumerate(_run(work, dataset, todo), start=total - len(todo) + 1):
            known[record.picture] = record
            if file is not None:
                file.add([record])
            if how.progress is not None:
                how.progress(done, total)
    return known


def _run(work: Work, dataset: Dataset, numbers: Sequence[int]) -> Iterator[Record]:
    """Yield the records of some pictures, whole batches of them, in their order."""
    paths = [dataset.samples[number].path for number in numbers]
    with closing(work.stream(paths)) as outcomes:
        for number, outcome in zip(numbers, outcomes, strict=True):
            if outcome.result is None:
                yield Record(number, np.zeros((0, WIDTH), np.float32), str(outcome.error))
            else:
                yield Record(number, work.rows(outcome.result))


def _key(work: Work, dataset: Dataset) -> str:
    """Return a digest of what the findings depend on.

    Of the network it is what it says of a batch of noise, so that networks, optimized ones and
    converted files are told apart alike.
    """
    plan = work.network.plan
    settings = f"{plan.text}\n{plan.context.dialect.name}\n{work.settings}\n"
    total = hashlib.sha256(settings.encode("utf-8", "surrogateescape"))
    noise = torch.rand(work.batch_size, *plan.input, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        said = work.network(noise.to(work.network.device, work.network.input_dtype))
    for output in said if isinstance(said, tuple) else (said,):
        total.update(output.float().cpu().contiguous().numpy().tobytes())
    for sample in dataset.samples:
        status = sample.path.stat() if sample.path.is_file() else None
        stamp = (status.st_size, status.st_mtime_ns) if status else ()
        total.update(f"{sample.path} {stamp}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()
