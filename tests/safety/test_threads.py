"""Threads that end when nobody wants their work any more, and pools of them."""

import gc
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import CancelledError

import pytest

from darknet_torch.safety.threads import Background, Pool, end

ENDING = """
import atexit, sys, time
sys.argv[1] == "late" and atexit.register(lambda: print(done))  # behind those of the library

from threading import Event
from darknet_torch.safety.threads import Background, Pool

done, begun, stopped = [], Event(), Event()

def work(number):
    begun.set()
    time.sleep(0.2)
    done.append(number)

def until_stopped():
    while not stopped.wait(0.01):
        pass
    done.append("stopped")

hangs = Background(lambda: time.sleep(600), lambda: None, patience=0.1)
stops = Background(until_stopped, stopped.set)
pool = Pool(1)
futures = [pool.submit(lambda number=number: work(number)) for number in range(1000)]
begun.wait()
"""


def test_the_end_of_the_interpreter() -> None:
    """What is being done is waited for, what waits is dropped, and what hangs is left."""
    command = [sys.executable, "-c", ENDING, "late"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout in ("['stopped', 0]\n", "[0, 'stopped']\n")


def test_a_thread_is_stopped_and_waited_for() -> None:
    stopped, ended = threading.Event(), threading.Event()

    def work() -> None:
        stopped.wait(60)
        time.sleep(0.05)
        ended.set()

    thread = Background(work, stopped.set)
    assert thread.is_alive()
    thread.close()
    assert ended.is_set() and not thread.is_alive()
    thread.close()


def test_all_are_stopped_before_one_is_waited_for() -> None:
    """Each may wait for another; their patience runs at the same time."""
    first, second = threading.Event(), threading.Event()
    threads = [Background(lambda: second.wait(60), first.set)]
    threads.append(Background(lambda: first.wait(60), second.set))
    hang = threading.Event()
    threads += [Background(lambda: hang.wait(60), lambda: None, 0.2) for _ in range(20)]
    begun = time.monotonic()
    end(threads)
    assert time.monotonic() - begun < 2
    assert not threads[0].is_alive() and not threads[1].is_alive()
    hang.set()


def test_a_thread_does_not_wait_for_itself() -> None:
    threads: list[Background] = []
    ready, ended = threading.Event(), threading.Event()

    def work() -> None:
        ready.wait(60)
        threads[0].close()
        ended.set()

    threads.append(Background(work, lambda: None))
    ready.set()
    assert ended.wait(60)


def test_a_pool_returns_results_in_order() -> None:
    def slow_if_even(number: int) -> int:
        time.sleep(0.02 if number % 2 == 0 else 0)
        return -number

    with Pool(4) as pool:
        assert list(pool.map(slow_if_even, range(20))) == [-number for number in range(20)]


def test_a_pool_starts_no_thread_too_many() -> None:
    with Pool(8) as pool:
        assert pool._threads == []
        for _ in range(20):
            pool.submit(time.monotonic).result()
            time.sleep(0.005)  # until the thread is idle
        assert len(pool._threads) < 4
        barrier = threading.Barrier(8, timeout=60)  # passed by eight at once, and no fewer
        for future in [pool.submit(barrier.wait) for _ in range(8)]:
            future.result()
        assert len(pool._threads) == 8


def test_an_error_is_raised_by_its_future_and_the_thread_goes_on() -> None:
    def fail(_: object) -> None:
        raise ValueError("broken")

    with Pool(1) as pool:
        with pytest.raises(ValueError, match="broken"):
            list(pool.map(fail, [1]))
        assert pool.submit(lambda: 3).result() == 3


def test_the_end_of_a_pool() -> None:
    """What is being done is waited for and may look whether it ends; what waits is cancelled."""
    begun, done = threading.Event(), list[str]()

    def work() -> None:
        begun.set()
        while not pool.stopped:
            time.sleep(0.005)
        done.append("first")

    with Pool(1) as pool:
        first = pool.submit(work)
        others = [pool.submit(lambda: done.append("other")) for _ in range(3)]
        assert begun.wait(60)
    assert first.done() and done == ["first"]
    for future in [*others, pool.submit(lambda: done.append("late"))]:
        with pytest.raises(CancelledError):
            future.result()
    assert done == ["first"]


def test_a_thread_keeps_nothing_of_what_was_done() -> None:
    class Large:
        """Some images."""

    with Pool(1) as pool:
        for fails in (False, True):
            large: Large | None = Large()
            seen = weakref.ref(large)

            def work(large=large, fails=fails) -> None:
                if fails:
                    raise ValueError(str(large))

            gc.disable()
            try:
                assert (pool.submit(work).exception() is not None) == fails
                del work
                large = None
                deadline = time.monotonic() + 10
                while seen() is not None and time.monotonic() < deadline:
                    time.sleep(0.005)
                assert seen() is None
            finally:
                gc.enable()
