"""Work ahead in a thread: reading, detecting and writing of several frames overlap."""

from collections import deque
from collections.abc import Generator, Iterator
from threading import Condition, Thread
from typing import Generic, TypeVar

__all__ = ["Ahead"]

T = TypeVar("T")
PATIENCE = 2.0
"""Seconds to wait for a thread at the end; it may hang in a camera or a dead connection."""


class Ahead(Iterator[T], Generic[T]):
    """The items of a generator, which runs in a thread of its own, a few items ahead.

    Args:
        items: runs in the thread, is closed there, and its errors are raised here in their turn.
        most: items that wait; with so many waiting the thread does.
        newest: the thread never waits: the oldest item is dropped.

    Attributes:
        dropped: number of items that nobody got.
    """

    def __init__(self, items: Generator[T, None, None], most: int, *, newest: bool = False) -> None:
        self.most, self.newest, self.dropped = most, newest, 0
        self._items, self._waiting = items, deque[T]()
        self._changed, self._stopped, self._ended = Condition(), False, False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def __next__(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended or self._stopped)
            if self._waiting and not self._stopped:
                self._changed.notify_all()
                return self._waiting.popleft()
        if self._error is not None and not self._stopped:
            error, self._error = self._error, None
            raise error
        raise StopIteration

    def stop(self) -> None:
        """End the iteration, here and in the thread; any thread may call it."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Stop, and wait for the thread, for a short while."""
        self.stop()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    break
            self._items.close()
        except BaseException as error:  # raised again by __next__
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, item: T) -> bool:
        """Let an item wait for its turn; return whether another one is wanted."""
        with self._changed:
            if self.newest and len(self._waiting) >= self.most:
                self._waiting.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: len(self._waiting) < self.most or self._stopped)
            if not self._stopped:
                self._waiting.append(item)
                self._changed.notify_all()
            return not self._stopped
