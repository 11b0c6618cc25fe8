"""Ctrl-C and SIGTERM during long work: it ends after the batch that is being computed."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from darknet_torch.safety.threads import Background

__all__ = ["Interrupt", "ends_by_its_parent", "stops_between_batches"]

ENDING = (signal.SIGINT, signal.SIGTERM)
"""Signals by which people and other programs ask a process to end."""


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
        for number in ENDING:
            before[number] = signal.signal(number, interrupt.request)
        yield interrupt
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)


def ends_by_its_parent() -> None:
    """Let this process, which works for its parent, end when that asks for it, and by no other.

    Ctrl-C, `timeout` and job schedulers ask all processes at once; the parent, which does its batch
    first, still needs this one then. Where the system does not tell who asks, nothing changes.
    """
    if not hasattr(signal, "sigwaitinfo"):
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)

    def wait() -> None:
        while signal.sigwaitinfo(ENDING).si_pid != os.getppid():
            pass
        os._exit(0)

    Background(wait, lambda: None, patience=0)
