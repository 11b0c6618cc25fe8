"""The loop that detection and classification share: images in batches, read ahead, in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from os import PathLike
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeGuard, TypeVar, get_args

import torch
from torch import Tensor

from darknet_torch.errors import DarknetError, ImageError, UsageError, warn
from darknet_torch.inference.launched import Launched, decode_beside
from darknet_torch.inference.prepared import Reading, decoded
from darknet_torch.inference.reader_processes import ReaderProcesses, core_count, is_file
from darknet_torch.inference.sources import expand
from darknet_torch.network import Runnable
from darknet_torch.network.eval_mode import in_eval_mode
from darknet_torch.safety.threads import Pool

__all__ = [
    "Errors",
    "Outcome",
    "Outcomes",
    "Task",
    "collect",
    "in_workers",
    "read_ahead",
    "run_batches",
    "stream",
]

T = TypeVar("T")
R = TypeVar("R")

LONG = 2
"""Batches for each worker from which on a list is long; a short one gets all cores at once."""
MANY = 200
"""Files from which on processes read them for a graphics card."""
MOST_AT_ONCE = 8
"""Most images that a worker takes at once, unless a batch has more."""


class Outcome(NamedTuple, Generic[R]):
    """The result of one image, or the error that it raised."""

    source: Any
    result: R | None
    error: DarknetError | None = None


Outcomes = Generator[Outcome[R], None, None]


Errors = Literal["raise", "skip"]
"""What is done about an image that cannot be read, among several."""


def collect(
    run: Callable[[Iterable[Any]], Outcomes[R]], images: Any, errors: Errors = "raise"
) -> R | list[R]:
    """Return the result of one image, or a list for several.

    Args:
        run: images -> their outcomes.
        images: one or several, see `expand`.
        errors: raise the first error, or leave out broken images of several, with a warning each.
    """
    if errors not in get_args(Errors):
        raise UsageError(f"errors={errors}: must be one of {', '.join(get_args(Errors))}")
    sources, many = expand(images)
    results = []
    with closing(run(sources)) as outcomes:
        for outcome in outcomes:
            if outcome.result is not None:
                results.append(outcome.result)
                continue
            error = outcome.error or ImageError(f"{outcome.source}: cannot be read")
            if errors == "raise" or not many:
                raise error
            warn(f"left out: {error}")
    return results if many else results[0]


class Task(Protocol[T, R]):
    """The steps from an image to its result: read, run in a batch, postprocess."""

    @property
    def network(self) -> Runnable:
        """What `forward` calls; if it is `concurrent`, several threads may."""

    def prepare(self, source: Any, /) -> T:
        """Read one image; raises DarknetError."""

    def forward(self, images: Sequence[T], /) -> Sequence[Tensor]:
        """Run one batch. If `concurrent`, a tensor's first dimension is that of the images."""

    def postprocess(self, outputs: Sequence[Tensor], images: Sequence[T], /) -> list[R]:
        """Return a result for each image from the network's outputs for all of them."""


def run_batches(task: Task[T, R], images: Sequence[T], batch_size: int = 1) -> list[R]:
    """Run prepared images through the network in batches; postprocess all at once.

    The boxes of several images take little longer to postprocess than those of one.
    """
    return task.postprocess(_forward(task, images, batch_size), images) if images else []


def _forward(task: Task[T, R], images: Sequence[T], batch_size: int) -> list[Tensor]:
    """Run prepared images through the network in batches; return its outputs for all of them."""
    batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
    outputs = zip(*map(task.forward, batches), strict=True)
    return [torch.cat(each) if len(each) > 1 else each[0] for each in outputs]


def stream(
    task: Task[T, R],
    sources: Iterable[Any],
    batch_size: int,
    workers: int,
    reading: Reading | None = None,
) -> Outcomes[R]:
    """Yield an outcome for every source, in order.

    Images are prepared in threads, ahead of the batch that the network works on. Where that is
    `concurrent`, the workers share a long list: each takes some whole batches and its share of the
    cores, so that none waits for another. A path stands for what it stands for in `detect`. A
    network in training mode computes in eval mode, and is back in training mode at the end.

    Args:
        task: what is done.
        sources: images.
        batch_size: images in one forward pass.
        workers: number of threads.
        reading: all that `task.prepare` does; where the network is not on the CPU, a list of many
            files is then read by processes, one a core.
    """
    if isinstance(sources, str | PathLike | Tensor):
        sources, _ = expand(sources)
    with in_eval_mode(task.network), ExitStack() as stack:
        ahead: Iterator[tuple[Any, Any]]
        if reading is not None and workers > 1 and _pays_processes(sources, task.network):
            processes = stack.enter_context(ReaderProcesses(reading, core_count()))
            ahead = stack.enter_context(closing(processes.ahead(sources)))
        else:
            if workers > 1 and task.network.concurrent and isinstance(sources, Sequence):
                shares = _shares(sources, batch_size, workers)
                if len(shares) >= LONG * workers:
                    yield from in_workers(task, shares, batch_size, workers)
                    return
            ahead = read_ahead(task.prepare, sources, workers, 2 * max(batch_size, workers))
        on_card = reading is not None and reading.decoder == "nvjpeg"
        yield from _in_batches(task, ahead, batch_size, on_card)


def _pays_processes(sources: Iterable[Any], network: Runnable) -> TypeGuard[Sequence[Any]]:
    """Return whether processes should read images: many files, for a device that is no CPU."""
    if network.device.type == "cpu" or not isinstance(sources, Sequence):
        return False
    files = sum(1 for _ in islice(filter(is_file, sources), MANY))
    return files == MANY


def _in_batches(
    task: Task[T, R],
    ahead: Iterator[tuple[Any, T | DarknetError]],
    batch_size: int,
    on_card: bool,
) -> Outcomes[R]:
    """Run images that are read ahead in batches; on_card: JPEGs are decoded there."""
    batches = iter(lambda: list(islice(ahead, batch_size)), [])
    device = task.network.device

    def launch(batch: Sequence[tuple[Any, T | DarknetError]]) -> Iterator[Outcome[R]]:
        return _outcomes(task, batch, batch_size)

    if device.type == "cpu":
        for outcomes in map(launch, batches):
            yield from outcomes
        return
    with ExitStack() as stack:
        if on_card:  # a thread of its own waits for the decoder
            decoding = stack.enter_context(
                closing(read_ahead(partial(_decoded, device), batches, 1, 2))
            )
            batches = (_raised(batch) for _, batch in decoding)
        # One thread gives a card its batches; the boxes of the one before are found here.
        launching = stack.enter_context(closing(read_ahead(launch, batches, 1, 2)))
        for _, launched in launching:
            yield from _raised(launched)


def _decoded(device: torch.device, batch: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Decode the JPEGs of a batch of sources and images on a card."""
    images = decode_beside([image for _, image in batch], device)
    return [(source, image) for (source, _), image in zip(batch, images, strict=True)]


def _shares(sources: Sequence[T], batch_size: int, workers: int) -> list[Sequence[T]]:
    """Cut a list into whole batches: several of them while many are left, one at the end."""
    shares, start = [], 0
    while start < len(sources):
        fair = (len(sources) - start) // (LONG * workers)
        size = max(1, min(fair, MOST_AT_ONCE) // batch_size) * batch_size
        shares.append(sources[start : start + size])
        start += size
    return shares


def in_workers(
    task: Task[T, R], shares: Iterable[Sequence[Any]], batch_size: int, workers: int
) -> Outcomes[R]:
    """Work in threads, each on its share of the cores; yield all outcomes in order.

    Args:
        task: its network is `concurrent`, and in eval mode.
        shares: what a thread takes at once; they are asked for a few ahead.
        batch_size: images in one forward pass.
        workers: number of threads.
    """

    def work(share: Sequence[Any]) -> list[Outcome[R]]:
        torch.set_num_threads(max(1, threads // workers))  # of this thread
        prepared = [(source, _attempt(task.prepare, source)) for source in share]
        return list(_outcomes(task, prepared, batch_size))

    threads = torch.get_num_threads()
    try:
        for _, outcomes in read_ahead(work, shares, workers, 2 * workers):
            yield from _raised(outcomes)
    finally:
        torch.set_num_threads(threads)  # of threads to come


def _attempt(work: Callable[[Any], T], source: Any) -> T | DarknetError:
    try:
        return work(source)
    except DarknetError as error:
        return error


def _raised(result: T | DarknetError) -> T:
    if isinstance(result, DarknetError):
        raise result
    return result


def _outcomes(
    task: Task[T, R], prepared: Sequence[tuple[Any, T | DarknetError]], batch_size: int
) -> Iterator[Outcome[R]]:
    """Run the images that could be prepared at once, and postprocess them when results are wanted.

    The others keep their error.
    """
    images = decoded([each for _, each in prepared], task.network.device)
    good = [each for each in images if not isinstance(each, DarknetError)]
    launched = Launched(_forward(task, good, batch_size) if good else [])

    def outcomes() -> Iterator[Outcome[R]]:
        with launched.outputs() as outputs:
            results = iter(task.postprocess(outputs, good) if good else ())
        for (source, _), each in zip(prepared, images, strict=True):
            if isinstance(each, DarknetError):
                yield Outcome(source, None, each)
            else:
                yield Outcome(source, next(results))

    return outcomes()


def read_ahead(
    work: Callable[[Any], T], sources: Iterable[Any], workers: int, most: int
) -> Generator[tuple[Any, T | DarknetError], None, None]:
    """Work on sources in threads, at most `most` ahead; yield sources and results in order."""
    waiting: deque[tuple[Any, Future[T | DarknetError]]] = deque()
    remaining = iter(sources)
    with Pool(workers) as pool:
        while True:
            for source in islice(remaining, max(0, most - len(waiting))):
                waiting.append((source, pool.submit(_attempt, work, source)))
            if not waiting:
                return
            source, future = waiting.popleft()
            yield source, future.result()
