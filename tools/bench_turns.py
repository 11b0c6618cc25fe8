"""Taking turns: what else the machine does then hits all that is measured alike."""

import statistics
import time
from collections.abc import Callable

__all__ = ["in_turns", "seconds_of"]


def seconds_of(run: Callable[[], object], repeats: int = 1) -> float:
    """Return the seconds that some calls take."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return time.perf_counter() - start


def in_turns(
    work: dict[str, Callable[[], object]], rounds: int, warm: int = 1, *, twice: bool = False
) -> dict[str, float]:
    """Return the median seconds of each piece of work.

    Args:
        work: what is measured, by name.
        rounds: how often each has its turn.
        warm: rounds before these, which do not count.
        twice: call each twice in its turn, and count the second call, with warm caches.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(warm + rounds):
        for name, run in work.items():
            if twice:
                run()
            seconds[name].append(seconds_of(run))
    return {name: statistics.median(each[warm:]) for name, each in seconds.items()}
