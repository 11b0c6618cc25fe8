"""Progress bars of the command."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TypeVar

from darknet_torch.cli.output import is_quiet
from darknet_torch.progress import Progress
from darknet_torch.text import printable

if TYPE_CHECKING:
    from tqdm import tqdm


__all__ = ["download_bar", "with_bar", "working_bar"]

T = TypeVar("T")


def with_bar(outcomes: Iterable[T], count: int) -> Iterator[T]:
    """Draw a bar on a terminal while several images are processed."""
    from tqdm import tqdm

    silent = count < 2 or _is_hidden()
    yield from tqdm(outcomes, total=count, unit="picture", disable=silent, leave=False)


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
