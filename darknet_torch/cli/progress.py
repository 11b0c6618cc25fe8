"""Progress of the command on a terminal: bars, and a line that says what takes so long."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event
from typing import TYPE_CHECKING, NoReturn, TypeVar

from darknet_torch.cli.output import is_quiet
from darknet_torch.progress import Progress
from darknet_torch.safety.text import printable
from darknet_torch.safety.threads import Background

if TYPE_CHECKING:
    from tqdm import tqdm


__all__ = ["activity", "doing", "download_bar", "with_bar", "working_bar"]

T = TypeVar("T")
FIRST, EVERY = 1.0, 0.5
"""Seconds until the line of `activity` is shown, and between its changes."""


@contextmanager
def activity(text: str) -> Iterator[None]:
    """Show on a terminal what is being done, and since when, if it takes longer than a second."""
    if _is_hidden():
        yield
        return
    line = _Line(text)
    token = _line.set(line)
    ticker = Background(line.tick, line.ended.set)
    try:
        yield
    finally:
        _line.reset(token)
        ticker.close()


def doing(text: str) -> None:
    """Change what the line of `activity` says."""
    line = _line.get()
    if line is not None:
        line.text = text


class _Line:
    """The line of an activity; a thread draws it."""

    def __init__(self, text: str) -> None:
        self.text, self.begun, self.ended = text, time.time(), Event()

    def tick(self) -> None:
        """Draw the line again and again, from a second on, and take it away at the end."""
        from tqdm import tqdm

        if self.ended.wait(FIRST):
            return
        with tqdm(bar_format="{desc} {elapsed}", leave=False, file=sys.stderr) as bar:
            bar.start_t = self.begun
            while True:
                bar.set_description_str(self.text)
                if self.ended.wait(EVERY):
                    return


_line: ContextVar[_Line | None] = ContextVar("_line", default=None)


def with_bar(outcomes: Iterable[T], count: int | None, unit: str = "picture") -> Iterator[T]:
    """Draw a bar on a terminal while several images are processed.

    count: of images; None where nobody knows.
    """
    from tqdm import tqdm

    silent = (count is not None and count < 2) or _is_hidden()
    yield from tqdm(outcomes, total=count, unit=unit, disable=silent, leave=False)


@contextmanager
def working_bar() -> Iterator[Progress]:
    """Yield a progress function that draws a bar of images, with rate and remaining time."""
    from tqdm import tqdm

    bar = tqdm(unit="picture", disable=_is_hidden(), leave=False)
    with bar:
        yield lambda done, total: _advance(bar, done, total)


@contextmanager
def download_bar(name: str) -> Iterator[Progress]:
    """Yield a progress function that draws a bar on a terminal, and nothing elsewhere."""
    from tqdm import tqdm

    bar = tqdm(desc=printable(name), unit="B", unit_scale=True, disable=_is_hidden(), leave=False)

    with bar:
        yield lambda done, total: _advance(bar, done, total)


def _is_hidden() -> bool:
    return is_quiet() or not sys.stderr.isatty()


def _advance(bar: "tqdm[NoReturn]", done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)
