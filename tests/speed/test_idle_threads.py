"""Threads that wait for work sleep soon, unless the user has decided otherwise."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from darknet_torch.speed import idle_threads
from darknet_torch.speed.idle_threads import COUNT, OF_THE_USER, let_idle_threads_sleep

PROGRAM = """
import os, sys
from darknet_torch.cli.command import run
from darknet_torch.cli import train
def seen(*_, **__):
    print(os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules)
    sys.exit()
train.take_weights = seen
run(["train", "net.cfg", "data.yaml"])
"""


@pytest.fixture(autouse=True)
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OF_THE_USER:
        monkeypatch.setenv(name, "")  # so that it is afterwards as it was before
        monkeypatch.delenv(name)
    monkeypatch.setattr(idle_threads, "sys", SimpleNamespace(modules={}))


def test_it_is_set() -> None:
    assert let_idle_threads_sleep()
    assert idle_threads.os.environ[idle_threads.SPINS] == str(COUNT)


@pytest.mark.parametrize("name", OF_THE_USER)
def test_the_user_has_decided(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "5")
    assert not let_idle_threads_sleep()
    assert idle_threads.os.environ[name] == "5"


def test_it_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_threads, "sys", SimpleNamespace(modules={"torch": None}))
    assert not let_idle_threads_sleep()
    assert idle_threads.SPINS not in idle_threads.os.environ


def test_the_command_sets_it_before_torch_is_imported() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(COUNT), "True"]
