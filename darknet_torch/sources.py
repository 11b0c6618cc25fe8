"""What `detect` and `classify` are asked to look at, and the loop that they share."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from glob import has_magic, iglob
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from darknet_torch.errors import DarknetError, ImageError
from darknet_torch.files import PICTURES

__all__ = ["Outcome", "Outcomes", "collect", "expand", "path_of", "read_ahead", "stream"]

T = TypeVar("T")
R = TypeVar("R")

LONG = 2
"""Batches for each worker from which on a list is long; a short one gets all cores at once."""


class Outcome(NamedTuple, Generic[R]):
    """What became of one picture: a result, or the error that it met."""

    source: Any
    result: R | None
    error: DarknetError | None = None


Outcomes = Generator[Outcome[R], None, None]


def collect(run: Callable[[Iterable[Any]], Outcomes[R]], images: Any) -> R | list[R]:
    """Return the result of one picture, or a list for several; raise the first error."""
    sources, many = expand(images)
    found = []
    with closing(run(sources)) as outcomes:
        for outcome in outcomes:
            if outcome.result is None:
                raise outcome.error or ImageError(f"{outcome.source}: cannot be read")
            found.append(outcome.result)
    return found if many else found[0]


def stream(
    prepare: Callable[[Any], T],
    run: Callable[[list[T]], list[R]],
    sources: Iterable[Any],
    batch_size: int,
    workers: int,
    network: object = None,
) -> Outcomes[R]:
    """Yield an outcome for every source, in order.

    `prepare` runs in threads, ahead of the batch that `run` works on. Where `network`, which `run`
    calls, is `concurrent`, the workers go through a long list side by side: each takes whole
    batches and its share of the cores, so that none waits for another.
    """
    concurrent = workers > 1 and getattr(network, "concurrent", False)
    if concurrent and isinstance(sources, Sequence):
        batches = [sources[i : i + batch_size] for i in range(0, len(sources), batch_size)]
        if len(batches) >= LONG * workers:
            tried = partial(_tried, prepare)
            yield from _side_by_side(
                lambda batch: _outcomes(map(tried, batch), run), batches, workers
            )
            return
    ahead = read_ahead(prepare, sources, workers, 2 * batch_size)
    while batch := list(islice(ahead, batch_size)):
        yield from _outcomes(batch, run)


def _side_by_side(
    work: Callable[[Sequence[Any]], list[Outcome[R]]],
    batches: Sequence[Sequence[Any]],
    workers: int,
) -> Outcomes[R]:
    """Work on batches in threads, each on its share of the cores; yield all outcomes in order."""

    def work_alone(batch: Sequence[Any]) -> list[Outcome[R]]:
        torch.set_num_threads(max(1, threads // workers))  # of this thread
        return work(batch)

    threads = torch.get_num_threads()
    try:
        for _, outcomes in read_ahead(work_alone, batches, workers, 2 * workers):
            if isinstance(outcomes, DarknetError):
                raise outcomes
            yield from outcomes
    finally:
        torch.set_num_threads(threads)  # of threads to come


def _tried(prepare: Callable[[Any], T], source: Any) -> tuple[Any, T | DarknetError]:
    try:
        return source, prepare(source)
    except DarknetError as error:
        return source, error


def _outcomes(
    prepared: Iterable[tuple[Any, T | DarknetError]], run: Callable[[list[T]], list[R]]
) -> list[Outcome[R]]:
    """Run what could be prepared of a batch."""
    batch = list(prepared)
    good = [each for _, each in batch if not isinstance(each, DarknetError)]
    results = iter(run(good) if good else ())
    return [
        Outcome(source, None, each)
        if isinstance(each, DarknetError)
        else Outcome(source, next(results))
        for source, each in batch
    ]


def expand(images: Any) -> tuple[Iterable[Any], bool]:
    """Return the single pictures that an argument of `detect` means, and whether it means many."""
    if isinstance(images, str | PathLike):
        return _expand_path(fspath(images))
    if isinstance(images, Tensor) and images.dim() == 4:
        return images.unbind(0), True
    if isinstance(images, list | tuple):
        return [single for each in images for single in expand(each)[0]], True
    if isinstance(images, Iterator) and not hasattr(images, "read"):  # files iterate over lines
        return images, True
    return [images], False


def _expand_path(path: str) -> tuple[list[str], bool]:
    if Path(path).is_dir():
        inside = sorted(
            str(each) for each in Path(path).iterdir() if each.suffix.lower() in PICTURES
        )
        if not inside:
            raise ImageError(f"{path}: no pictures in this folder ({' '.join(PICTURES)})")
        return inside, True
    if has_magic(path) and not Path(path).exists():
        every = iglob(path, recursive=True)  # noqa: PTH207 (Path.glob refuses absolute patterns)
        matches = sorted(each for each in every if Path(each).is_file())
        if not matches:
            raise ImageError(f"{path}: no file matches")
        return matches, True
    return [path], False


def read_ahead(
    work: Callable[[Any], T], sources: Iterable[Any], workers: int, most: int
) -> Iterator[tuple[Any, T | DarknetError]]:
    """Work on sources in threads, at most so many ahead; yield them in order."""
    waiting: deque[tuple[Any, Future[T]]] = deque()
    remaining = iter(sources)
    with ThreadPoolExecutor(workers) as pool:
        while True:
            for source in islice(remaining, max(0, most - len(waiting))):
                waiting.append((source, pool.submit(work, source)))
            if not waiting:
                return
            source, future = waiting.popleft()
            try:
                yield source, future.result()
            except DarknetError as error:
                yield source, error


def path_of(source: Any) -> str | None:
    """Return the name of the file that a source is, if it is one."""
    if isinstance(source, str | PathLike):
        return fspath(source)
    name = getattr(source, "name", None) or getattr(source, "filename", None)
    return name if isinstance(name, str) and name else None
