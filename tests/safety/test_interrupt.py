"""Ctrl-C and SIGTERM as a request to end."""

import signal
import threading

import pytest

from darknet_torch.safety.interrupt import stops_between_batches


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request(number: int) -> None:
    calls: list[str] = []
    with stops_between_batches(then=lambda: calls.append("then")) as interrupt:
        assert not interrupt.requested
        signal.raise_signal(number)
        assert interrupt.requested
        assert calls == ["then"]


def test_the_second_signal_ends_the_process_as_ctrl_c_does() -> None:
    with pytest.raises(KeyboardInterrupt), stops_between_batches():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)


def test_handlers_are_as_before_behind_it() -> None:
    def mine(*_: object) -> None:
        """Take any signal."""

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with pytest.raises(ValueError, match="the work failed"), stops_between_batches():
            assert signal.getsignal(signal.SIGTERM) is not mine
            raise ValueError("the work failed")
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_signals_are_left_alone() -> None:
    found: list[object] = []

    def run() -> None:
        with stops_between_batches() as interrupt:
            found.extend((interrupt.requested, signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False, before]
