"""Settings of the process: the last thread puts them back."""

import threading

import pytest

from darknet_torch.safety.process_setting import ProcessSetting


def test_the_last_one_puts_it_back() -> None:
    held = {"value": 1}
    setting = ProcessSetting(lambda: held["value"], lambda value: held.update(value=value))
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with setting.replaced(2):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    with setting.replaced(2):
        assert held["value"] == 2 and setting.value == 1
    assert held["value"] == 2  # the other thread still needs it
    leave.set()
    thread.join(10)
    assert held["value"] == setting.value == 1


def test_it_is_put_back_after_an_error_and_read_anew() -> None:
    held = {"value": 1}
    setting = ProcessSetting(lambda: held["value"], lambda value: held.update(value=value))
    held["value"] = 5
    with pytest.raises(ZeroDivisionError), setting.replaced(2):
        raise ZeroDivisionError
    assert held["value"] == 5
