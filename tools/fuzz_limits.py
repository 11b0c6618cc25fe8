"""What the fuzzers count as a failure: time, and where an exception came from."""

import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["TooSlow", "place_of", "time_limit"]


class TooSlow(BaseException):
    """No Exception, so that nothing swallows it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlow in what takes longer."""

    def stop(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def place_of(error: BaseException) -> str:
    """Return the file and the function of this package that an exception came through last."""
    frames = traceback.extract_tb(error.__traceback__)
    where = next((f for f in reversed(frames) if "darknet_torch" in f.filename), frames[-1])
    return f"{Path(where.filename).name}:{where.name}"
