"""The callback by which long tasks report their progress."""

from typing import Protocol

__all__ = ["Progress"]


class Progress(Protocol):
    """Called after every step with what is done and the total, in bytes or images."""

    def __call__(self, done: int, total: int, /) -> object:
        """Report the progress; the return value is ignored."""
