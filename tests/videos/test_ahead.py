"""Generators in threads: bounded, in order, with their errors, and ended from outside."""

import threading
import time
from collections.abc import Iterator

import pytest

from darknet_torch.videos.ahead import Ahead


def numbers(count: int, seen: list[int]) -> Iterator[int]:
    for number in range(count):
        seen.append(number)
        yield number


def wait_until(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_all_items_in_order() -> None:
    assert list(Ahead(numbers(100, []), 3)) == list(range(100))


def test_the_thread_is_a_few_items_ahead_and_no_more() -> None:
    seen: list[int] = []
    ahead = Ahead(numbers(100, seen), 4)
    wait_until(lambda: len(seen) == 5)  # four wait, and one is in its hand
    time.sleep(0.05)
    assert len(seen) == 5
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    wait_until(lambda: len(seen) == 8)
    ahead.close()
    assert not ahead.thread.is_alive()
    assert len(seen) == 8


def test_the_newest_item() -> None:
    go_on = threading.Event()

    def items() -> Iterator[int]:
        yield from range(10)
        go_on.wait(5)
        yield 10

    ahead = Ahead(items(), 1, newest=True)
    wait_until(lambda: ahead.dropped == 9)
    assert next(ahead) == 9
    go_on.set()
    assert list(ahead) == [10]
    assert ahead.dropped == 9


def test_an_error_comes_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    ahead = Ahead(items(), 5)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="broken"):
        next(ahead)
    assert list(ahead) == []


def test_its_thread_ends_when_nobody_has_it_any_more() -> None:
    closed, stops = threading.Event(), list[str]()

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    ahead = Ahead(items(), 2, stop=lambda: stops.append("stop"))
    thread = ahead.thread
    assert next(ahead) == 0
    del ahead
    assert closed.wait(60)
    thread.join(60)
    assert not thread.is_alive() and stops == ["stop"]


def test_stopped_while_its_user_waits() -> None:
    hang, closed = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        try:
            hang.wait(5)
            yield 1
        finally:
            closed.set()

    ahead = Ahead(items(), 1)
    threading.Timer(0.05, ahead.stop).start()
    assert list(ahead) == []
    hang.set()
    assert closed.wait(5)  # the generator is closed in its own thread
