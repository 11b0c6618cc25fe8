"""Settings of the whole process that some threads need otherwise for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["ProcessSetting"]

T = TypeVar("T")


class ProcessSetting(Generic[T]):
    """A setting that has another value while any thread needs it; the last one puts it back.

    Args:
        read: returns the value.
        write: sets it.
    """

    def __init__(self, read: Callable[[], T], write: Callable[[T], None]) -> None:
        self.read, self.write = read, write
        self.lock, self.users, self.before = Lock(), 0, read()

    @property
    def value(self) -> T:
        """The value that others have set."""
        with self.lock:
            return self.before if self.users else self.read()

    @contextmanager
    def replaced(self, value: T) -> Iterator[None]:
        """Set a value, the same for all callers, until the block ends."""
        with self.lock:
            if not self.users:
                self.before = self.read()
                self.write(value)
            self.users += 1
        try:
            yield
        finally:
            with self.lock:
                self.users -= 1
                if not self.users:
                    self.write(self.before)
