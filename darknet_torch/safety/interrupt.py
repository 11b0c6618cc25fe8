"""Ctrl-C and SIGTERM during long work: it ends after the batch that is being computed."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Interrupt", "stops_between_batches"]


class Interrupt:
    """Whether the user wants the work to end.

    Args:
        then: called at the request, where the work waits for something else.
    """

    requested = False

    def __init__(self, then: Callable[[], object] | None = None) -> None:
        self.then = then

    def request(self, number: int, _frame: FrameType | None) -> None:
        """Note the request; a second one ends the process at once, as Ctrl-C does."""
        if self.requested:
            signal.default_int_handler(number, _frame)
        self.requested = True
        if self.then is not None:
            self.then()


@contextmanager
def stops_between_batches(then: Callable[[], object] | None = None) -> Iterator[Interrupt]:
    """Turn the first Ctrl-C or SIGTERM into a request, until the block ends.

    In threads other than the main one signals cannot be handled; there it does nothing.

    Args:
        then: called at the request, where the work waits for something else.
    """
    interrupt = Interrupt(then)
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, interrupt.request)
        yield interrupt
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)
