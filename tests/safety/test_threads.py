"""Threads that end when nobody wants their work any more, and pools of them."""

import subprocess
import sys
import threading
import time

import pytest

from darknet_torch.safety.threads import Background, Pool, end

ENDING = """
import atexit, sys, time
sys.argv[1] == "late" and atexit.register(lambda: print(done))  # behind those of the library

from threading import Event
from darknet_torch.safety.threads import Background

done, begun, stopped = [], Event(), Event()

def work():
    begun.set()
    time.sleep(0.2)
    done.append("worked")

def until_stopped():
    while not stopped.wait(0.01):
        pass
    done.append("stopped")

hangs = Background(lambda: time.sleep(600), lambda: None, patience=0.1)
stops = Background(until_stopped, stopped.set)
works = Background(work, lambda: None)
begun.wait()
"""


def test_the_end_of_the_interpreter() -> None:
    """What is being done is waited for, and what hangs is left."""
    command = [sys.executable, "-c", ENDING, "late"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "['stopped', 'worked']\n"


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


def test_what_waits_at_the_end_of_a_pool_is_dropped() -> None:
    begun, done = threading.Event(), list[int]()

    def work(number: int) -> None:
        begun.set()
        time.sleep(0.05)
        done.append(number)

    with pytest.raises(KeyboardInterrupt), Pool(1) as pool:
        futures = [pool.submit(work, number) for number in range(1000)]
        assert begun.wait(60)
        raise KeyboardInterrupt
    assert 0 < len(done) < 100
    assert sum(future.cancelled() for future in futures) == 1000 - len(done)
