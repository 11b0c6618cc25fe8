"""Networks in forks of processes that had computed: they compute, on one thread, and say so."""

import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch

import darknet_torch as dt
from darknet_torch.errors import DarknetWarning
from darknet_torch.network import forked

CFG = "[net]\nwidth=64\nheight=64\nchannels=3\n[convolutional]\nfilters=32\nsize=3\npad=1\n"
SECONDS = 60


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def status_of_fork(work: Callable[[], bool]) -> int:
    """Run it in a fork; return the exit status, or -SIGKILL if it hangs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: a fork beside threads
        child = os.fork()
    if not child:
        status = 2
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    ends = time.monotonic() + SECONDS
    while (found := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > ends:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(found[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.usefixtures("threads")
def test_a_fork_of_a_process_that_had_computed() -> None:
    network = dt.build(CFG)
    image = torch.rand(1, 3, 256, 256)
    expected = network(image)

    def computes() -> bool:
        with pytest.warns(DarknetWarning, match="is a fork of one that had computed"):
            same = torch.allclose(network(image), expected, atol=1e-5)
        return same and torch.get_num_threads() == 1

    assert status_of_fork(computes) == 0
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("before", "said"), [(None, False), (0, False), (-1, True)])
@pytest.mark.usefixtures("threads")
def test_who_is_told(
    before: int | None,
    said: bool,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    """None: nobody had computed; 0: this process had; -1: another."""
    monkeypatch.setattr(forked, "_process", None if before is None else os.getpid() + before)
    for _ in range(2):
        forked.before_computing()
    assert len(recwarn) == said
    assert torch.get_num_threads() == (1 if said else 2)
