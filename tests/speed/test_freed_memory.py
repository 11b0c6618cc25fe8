"""Memory that is freed stays with the process, unless its user has decided otherwise."""

import json
import os
import subprocess
import sys

import pytest

from darknet_torch.speed.freed_memory import OF_THE_USER, keep_freed_memory

FAULTS = """
import json, resource, sys
import torch
from darknet_torch.speed.freed_memory import keep_freed_memory
kept = sys.argv[1] == "keep" and keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def allocate():
    return [torch.ones(1_000_000 - 1000 * number) for number in range(16)]
for _ in range(5):
    allocate()
before = faults()
for _ in range(10):
    allocate()
print(json.dumps([kept, faults() - before]))
"""

PAGES = 1_000_000 * 4 // 4096
"""Of one block of FAULTS."""


def faults(way: str, **variables: str) -> tuple[bool, int]:
    environment = {k: v for k, v in os.environ.items() if k not in OF_THE_USER} | variables
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, way],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
    )
    kept, number = json.loads(done.stdout)
    return kept, number


def test_the_next_pass_fetches_no_page_again():
    kept, with_it = faults("keep")
    if not kept:
        pytest.skip("without glibc")
    _, without = faults("leave")
    assert with_it < 4 * PAGES < without  # of 160 blocks a few at most


@pytest.mark.parametrize("variable", OF_THE_USER)
def test_settings_of_the_user_stay(variable: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(variable, "1")
    assert not keep_freed_memory()


def test_another_system_or_library_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    for variable in OF_THE_USER:
        monkeypatch.delenv(variable, raising=False)
    with monkeypatch.context() as other:
        other.setattr(sys, "platform", "darwin")
        assert not keep_freed_memory()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert not keep_freed_memory()
