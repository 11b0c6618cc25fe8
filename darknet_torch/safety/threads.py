"""Threads that are stopped and waited for, at the latest when the interpreter ends.

A thread that is inside PyTorch when the interpreter ends takes the process down ("terminate called
without an active exception", status 134): up to Python 3.13 the interpreter ends it by unwinding
its stack, which C++ forbids. The threads of `concurrent.futures` are waited for, but only after
all that waits in their queues was done, too.
"""

import atexit
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from functools import partial
from threading import Condition, Thread
from time import monotonic
from typing import Any, Self, TypeVar

__all__ = ["Background", "CancelledError", "Pool", "end"]

T = TypeVar("T")


class Background(Thread):
    """A thread that is running, and ends when it is closed or when the interpreter ends.

    Args:
        work: what it does; it returns soon after `stop` was called.
        stop: lets the work end; any thread may call it, and more than once.
        patience: most seconds to wait for the end of work that may hang in a device or in a
            connection; None waits for as long as it takes, as work that calls PyTorch needs.
    """

    def __init__(
        self,
        work: Callable[[], object],
        stop: Callable[[], object],
        patience: float | None = None,
    ) -> None:
        super().__init__(target=work, daemon=True)
        self.stop, self.patience = stop, patience
        self.start()

    def close(self) -> None:
        """Stop the work, and wait for its end."""
        end([self])


def end(threads: Iterable[Background]) -> None:
    """Stop several threads, and wait for the end of all of them; the calling one is left out.

    Args:
        threads: that are stopped, before the first of them is waited for.
    """
    others = [thread for thread in threads if thread is not threading.current_thread()]
    for thread in others:
        thread.stop()
    begun = monotonic()
    for thread in others:
        left = None if thread.patience is None else begun + thread.patience - monotonic()
        thread.join(left if left is None else max(0.0, left))


@atexit.register
def _end_all() -> None:
    """End all threads; those that were started meanwhile, too."""
    ended = set[Thread]()
    while running := [
        thread
        for thread in threading.enumerate()
        if isinstance(thread, Background) and thread not in ended
    ]:
        end(running)
        ended.update(running)


class Pool:
    """Threads that do what is submitted, first come, first served; at the end the rest is dropped.

        with Pool(4) as pool:
            sizes = list(pool.map(size_of, paths))

    Args:
        count: most threads; one more is started when all are busy.

    Attributes:
        stopped: whether nothing is wanted any more; long work asks for it in between.
    """

    def __init__(self, count: int) -> None:
        self.count, self.stopped = count, False
        self._waiting = deque[tuple[Future[Any], Callable[[], Any]]]()
        self._changed, self._idle = Condition(), 0
        self._threads = list[Background]()

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        """Let a thread do something; its future is cancelled if the pool ends before."""
        future = Future[T]()
        with self._changed:
            if self.stopped:
                future.cancel()
                return future
            self._waiting.append((future, work))
            if len(self._waiting) > self._idle and len(self._threads) < self.count:
                self._threads.append(Background(self._work, self.stop))
            self._changed.notify()
        return future

    def map(self, work: Callable[[Any], T], items: Iterable[Any]) -> Iterator[T]:
        """Yield the results for all items, in order, or raise the first error."""
        futures = deque(self.submit(partial(work, item)) for item in items)
        while futures:
            yield futures.popleft().result()

    def stop(self) -> None:
        """Cancel what waits, and let the threads end; any thread may call it."""
        with self._changed:
            self.stopped = True
            for future, _ in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and wait for what is being done."""
        self.stop()
        end(self._threads)

    def _work(self) -> None:
        while (task := self._next()) is not None:
            _do(*task)
            del task  # else its images would stay until the next one comes

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self.stopped)
            self._idle -= 1
            return self._waiting.popleft() if self._waiting else None


def _do(future: "Future[T]", work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:  # whoever waits for the future handles it
        future.set_exception(error)
        del future  # the error knows this frame, which must not know it
