"""The process group of `torchrun`: several processes that do one job, each a part of it."""

import heapq
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist

__all__ = ["Ranks", "local_rank", "process_group", "ranks", "shares", "wait_for_all"]

PATIENCE = timedelta(days=7)
"""How long a process waits for those that have more to do."""


class Ranks(NamedTuple):
    """The rank of this process, and the number of processes."""

    rank: int = 0
    size: int = 1

    def gather(self, content: bytes) -> list[bytes]:
        """Return the contents of all processes, in the order of their ranks; all must call it."""
        if self.size == 1:
            return [content]
        lengths = [torch.zeros(1, dtype=torch.long) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([len(content)]))
        most = max(1, *(int(length) for length in lengths))
        mine = torch.frombuffer(bytearray(content.ljust(most, b"\0")), dtype=torch.uint8)
        parts = [torch.zeros(most, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(parts, mine)
        pairs = zip(parts, lengths, strict=True)
        return [part.numpy().tobytes()[: int(length)] for part, length in pairs]


@contextmanager
def process_group(timeout: timedelta | None = None) -> Iterator[Ranks]:
    """Join the process group of `torchrun`, if it started this process, until the block ends.

    A group that exists already is used and stays.

    Args:
        timeout: how long processes wait for one another; None is torch's half an hour.
    """
    if not dist.is_available():
        yield Ranks()
        return
    started = not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if started:
        with _output_as_errors():  # torch 2.9 prints there who is connected
            dist.init_process_group("gloo", timeout=timeout)
    try:
        several = dist.is_initialized()
        yield Ranks(dist.get_rank(), dist.get_world_size()) if several else Ranks()
    finally:
        if started:
            dist.destroy_process_group()


def wait_for_all() -> None:
    """Wait until all processes that `torchrun` started are here.

    When one ends with a status other than 0, `torchrun` ends the others, whatever they are doing.
    """
    if dist.is_available() and dist.is_torchelastic_launched():
        with process_group(PATIENCE) as group:
            if group.size > 1:
                dist.barrier()


@contextmanager
def _output_as_errors() -> Iterator[None]:
    """Let what libraries of C++ write to the standard output go to the standard error."""
    sys.stdout.flush()
    output = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(output, 1)
        os.close(output)


def local_rank() -> int:
    """Return the rank of this process on its machine, which is the index of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def ranks() -> Ranks:
    """Return the rank and the number of processes that `torchrun` started, without a group."""
    return Ranks(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def shares(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Share work out by size: the largest piece first, each to whoever has the least so far.

    Args:
        sizes: of the pieces, in any unit.
        count: number of shares.

    Returns:
        For each share the indices of its pieces, in their order. It depends on the arguments alone.
    """
    load = [(0, share) for share in range(count)]
    owned: list[list[int]] = [[] for _ in range(count)]
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        least, share = heapq.heappop(load)
        owned[share].append(index)
        heapq.heappush(load, (least + max(1, sizes[index]), share))
    return [sorted(each) for each in owned]
