"""Threads that are stopped and waited for, at the latest when the interpreter ends.

A daemon thread that is inside PyTorch when the interpreter ends takes the process down ("terminate
called without an active exception", status 134): up to Python 3.13 the interpreter ends it by
unwinding its stack, which C++ forbids.
"""

import atexit
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Thread
from time import monotonic
from typing import Any, TypeVar

__all__ = ["Background", "Pool", "end"]

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


class Pool(ThreadPoolExecutor):
    """Threads that do what is submitted; at the end of the block, what still waits is dropped.

    The work has the context variables of who submits it.
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Let a thread call a function; see `concurrent.futures`."""
        return super().submit(copy_context().run, fn, *args, **kwargs)

    def __exit__(self, *_: object) -> None:
        """Wait for what is being done; an executor would do all that waits first."""
        self.shutdown(cancel_futures=True)
