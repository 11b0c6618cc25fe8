"""Work ahead in a thread: reading, detecting and writing of several frames overlap."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from threading import Condition
from typing import Generic, TypeVar

from darknet_torch.safety.threads import Background

__all__ = ["Ahead"]

T = TypeVar("T")


class Ahead(Iterator[T], Generic[T]):
    """The items of a generator, which runs in a thread of its own, a few items ahead.

    Args:
        items: runs in the thread, is closed there, and its errors are raised here in their turn.
        most: items that wait; with so many waiting the thread does.
        newest: the thread never waits: the oldest item is dropped.
        stop: called, from any thread, where `items` should end while it waits for something.
        patience: most seconds to wait for the thread at the end, where it may hang in a camera or
            in a dead connection; None is as long as it takes.
    """

    def __init__(
        self,
        items: Generator[T, None, None],
        most: int,
        *,
        newest: bool = False,
        stop: Callable[[], object] = lambda: None,
        patience: float | None = None,
    ) -> None:
        self._queue = _Queue(items, most, newest, stop)
        self.thread = Background(self._queue.fill, self._queue.stop, patience)

    @property
    def dropped(self) -> int:
        """Number of items that nobody got."""
        return self._queue.dropped

    def __next__(self) -> T:
        return self._queue.get()

    def stop(self) -> None:
        """End the iteration, here and in the thread; any thread may call it."""
        self._queue.stop()

    def close(self) -> None:
        """Stop, and wait for the thread."""
        self.thread.close()

    def __del__(self) -> None:
        """Stop; the thread knows only the queue. To wait here could wait for a caller's lock."""
        self._queue.stop()


class _Queue(Generic[T]):
    """What the thread and the user of its items share."""

    def __init__(
        self,
        items: Generator[T, None, None],
        most: int,
        newest: bool,
        stop: Callable[[], object],
    ) -> None:
        self.most, self.newest, self.dropped = most, newest, 0
        self._items, self._stop_items, self._waiting = items, stop, deque[T]()
        self._changed, self._stopped, self._ended = Condition(), False, False
        self._error: BaseException | None = None

    def get(self) -> T:
        """Return the next item; raise StopIteration at the end."""
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
        """Let both sides end."""
        self._stop_items()
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()

    def fill(self) -> None:
        """Take the items, until they end or are not wanted any more."""
        try:
            for item in self._items:
                if not self._put(item):
                    break
            self._items.close()
        except BaseException as error:  # raised again by `get`
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
