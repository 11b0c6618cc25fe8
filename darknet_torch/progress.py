"""What a long task tells its caller: how much is done, and how much there is."""

from typing import Protocol

__all__ = ["Progress"]


class Progress(Protocol):
    """Called after every chunk with the bytes that are there and the bytes wanted."""

    def __call__(self, done: int, total: int, /) -> object:
        """Take note; the answer is not looked at."""
