"""Requests of many clients, computed in batches: each thread takes some, and computes them at once.

Where a network is `concurrent`, several threads compute, and share the cores while there is work
for all of them; a single request has all cores. Elsewhere the threads read images at the same time,
and one computes.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import Condition, Lock
from typing import Any

import torch
from torch import Tensor

from darknet_torch.errors import DarknetError, UsageError
from darknet_torch.images.reading import ImageSource
from darknet_torch.inference.prepared import Prepared, decoded
from darknet_torch.inference.streaming import Task
from darknet_torch.network import Runnable
from darknet_torch.network.eval_mode import in_eval_mode
from darknet_torch.safety.threads import Background

__all__ = ["Batcher", "Batching", "Computed", "Job", "of_images"]


@dataclass(frozen=True)
class Computed:
    """What a network computed of an image.

    Args:
        result: Detections, or a Classification.
        image: as it was prepared.
        outputs: of the network, for this image alone; none where the job does not keep them.
    """

    result: Any
    image: Prepared
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Job:
    """An image that waits to be computed.

    Args:
        source: the image's file.
        task: a Detector or a Classifier, with the settings of this request.
        answer: what is made of the result, in the thread that computed it.
        keeps_outputs: whether `answer` needs the network's outputs.
        future: receives what `answer` returns, or the error.
    """

    source: ImageSource
    task: Task[Prepared, Any]
    answer: Callable[[Computed], Any]
    keeps_outputs: bool = False
    future: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How jobs become batches.

    Args:
        batch_size: most images in one forward pass.
        batch_wait: seconds that a thread waits for more images.
        workers: number of threads.

    Raises:
        UsageError: a number is out of its range.
    """

    batch_size: int = 8
    batch_wait: float = 0.002
    workers: int = 2

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("batch_wait", 0), ("workers", 1)):
            if not getattr(self, name) >= least:
                raise UsageError(f"{name}={getattr(self, name)}: must be at least {least}")


class Batcher:
    """Threads that compute the jobs of one network.

    Args:
        network: what all jobs are for.
        batching: how they become batches.
        observe: called with (images, seconds) of each batch.
    """

    def __init__(
        self,
        network: Runnable,
        batching: Batching,
        observe: Callable[[int, float], object] = lambda images, seconds: None,
    ) -> None:
        self.network, self.batching, self.observe = network, batching, observe
        self._waiting, self._changed, self._closed = deque[Job](), Condition(), False
        self._busy, self._cores = 0, torch.get_num_threads()
        self._turn = nullcontext() if network.concurrent else Lock()
        self._mode = ExitStack()
        self._mode.enter_context(in_eval_mode(network))
        self._threads = [Background(self._work, self.stop) for _ in range(batching.workers)]

    @property
    def waiting(self) -> int:
        """Number of images that no thread has taken yet."""
        return len(self._waiting)

    def submit(self, job: Job) -> "Future[Any]":
        """Let a job be computed; its future, which can be cancelled, has the answer."""
        with self._changed:
            if self._closed:
                raise UsageError("the server ends")
            self._waiting.append(job)
            self._changed.notify()
        return job.future

    def stop(self) -> None:
        """Cancel what waits, and let the threads end."""
        with self._changed:
            self._closed = True
            for job in self._waiting:
                job.future.cancel()
            self._waiting.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Compute what waits, and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._mode.close()
        torch.set_num_threads(self._cores)  # of threads to come

    def _work(self) -> None:
        while jobs := self._take():
            wanted = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if wanted:
                self._run(wanted)

    def _take(self) -> list[Job]:
        """Return this thread's share of the jobs that wait; none at the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._closed:
                    self._changed.wait_for(self._is_full, self.batching.batch_wait)
                if self._waiting:
                    fair = -(-len(self._waiting) // len(self._threads))
                    count = min(fair, self.batching.batch_size)
                    return [self._waiting.popleft() for _ in range(count)]
                if self._closed:
                    return []

    def _is_full(self) -> bool:
        return self._closed or len(self._waiting) >= self.batching.batch_size

    def _run(self, jobs: Sequence[Job]) -> None:
        """Compute jobs; each future gets its answer, or its error."""
        begun = time.perf_counter()
        with self._share_of_cores():
            pairs = [(job, image) for job in jobs if (image := _prepared(job)) is not None]
            try:
                pairs = self._decoded(pairs)
                if not pairs:
                    return
                with self._turn:
                    outputs = pairs[0][0].task.forward([image for _, image in pairs])
            except Exception as error:  # too little memory, for example: the thread goes on
                for job, _ in pairs:
                    job.future.set_exception(error)
                return
            for numbers in _of_one_task(pairs):
                self._answer([pairs[number] for number in numbers], numbers, outputs)
        self.observe(len(pairs), time.perf_counter() - begun)

    def _answer(
        self,
        pairs: Sequence[tuple[Job, Prepared]],
        numbers: Sequence[int],
        outputs: Sequence[Tensor],
    ) -> None:
        """Postprocess images of one task at once, and answer each; one that fails, by itself.

        numbers: of the images in the batch.
        """
        try:
            mine = of_images(outputs, numbers, self.network)
            results = pairs[0][0].task.postprocess(mine, [image for _, image in pairs])
        except Exception as error:  # whoever waits for the future handles it
            if len(pairs) == 1:
                pairs[0][0].future.set_exception(error)
                return
            for pair, number in zip(pairs, numbers, strict=True):
                self._answer([pair], [number], outputs)
            return
        for place, (job, image) in enumerate(pairs):
            try:
                kept = of_images(mine, [place], self.network) if job.keeps_outputs else ()
                job.future.set_result(job.answer(Computed(results[place], image, kept)))
            except Exception as error:  # whoever waits for the future handles it
                job.future.set_exception(error)

    def _decoded(self, pairs: Sequence[tuple[Job, Prepared]]) -> list[tuple[Job, Prepared]]:
        """Decode what is still a JPEG; where that fails, the future has the error."""
        images = decoded([image for _, image in pairs], self.network.device)
        good = list[tuple[Job, Prepared]]()
        for (job, _), each in zip(pairs, images, strict=True):
            if isinstance(each, DarknetError):
                job.future.set_exception(each)
            else:
                good.append((job, each))
        return good

    @contextmanager
    def _share_of_cores(self) -> Iterator[None]:
        """Use all cores, or this thread's share if others compute or soon will."""
        with self._changed:
            self._busy += 1
            sharing = min(len(self._threads), self._busy + len(self._waiting))
        if self.network.concurrent:
            cores = min(self._cores, os.cpu_count() or 1)
            torch.set_num_threads(max(1, cores // sharing))  # of this thread
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1


def of_images(
    outputs: Sequence[Tensor], numbers: Sequence[int], network: Runnable
) -> tuple[Tensor, ...]:
    """Return a network's outputs for some images of a batch.

    Args:
        outputs: for the whole batch.
        numbers: of the images.
        network: that computed them.
    """
    if network.contents != "detections":
        whole = list(numbers) == list(range(len(outputs[0])))
        return tuple(each if whole else each[list(numbers)] for each in outputs)
    (rows,) = outputs
    parts = [rows[rows[:, 0] == number].clone() for number in numbers]
    for number, part in enumerate(parts):
        part[:, 0] = number
    return (torch.cat(parts),)


def _of_one_task(pairs: Sequence[tuple[Job, Prepared]]) -> Collection[list[int]]:
    """Return the numbers of the jobs of each task."""
    groups: dict[int, list[int]] = {}
    for number, (job, _) in enumerate(pairs):
        groups.setdefault(id(job.task), []).append(number)
    return groups.values()


def _prepared(job: Job) -> Prepared | None:
    """Read a job's image; None where that fails, and the future has the error."""
    try:
        return job.task.prepare(job.source)
    except Exception as error:  # whoever waits for the future handles it
        job.future.set_exception(error)
        return None
