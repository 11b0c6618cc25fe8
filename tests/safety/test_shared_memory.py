"""Memory that two processes have: its parts are used again, and stay while they are used."""

import gc
import os
import sys

import pytest
import torch

from darknet_torch.safety import shared_memory as module
from darknet_torch.safety.shared_memory import PART, SharedMemory, shared_memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")


@linux
def test_parts() -> None:
    memory = SharedMemory()
    start, values = memory.take()
    other, _ = memory.take()
    assert (start, other) == (0, PART) and values.shape == (PART,)
    os.pwrite(memory.number, b"abc", start)
    assert values[:3].tobytes() == b"abc"
    image = torch.from_numpy(values[1:3].reshape(2, 1)).permute(1, 0)
    del values, _
    gc.collect()
    assert memory.take()[0] == PART  # while the image is there, the first part is not given out
    memory.close()
    assert image.tolist() == [[98, 99]]
    del image
    gc.collect()
    assert 0 in (memory.take()[0], memory.take()[0])


@linux
def test_it_does_not_get_shorter() -> None:
    memory = SharedMemory()
    start, values = memory.take()
    with pytest.raises(PermissionError):
        os.ftruncate(memory.number, 0)
    assert not values[start : start + 9].any()
    memory.close()


def test_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "platform", "darwin")
    assert shared_memory() is None


@linux
def test_where_it_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert shared_memory() is None
