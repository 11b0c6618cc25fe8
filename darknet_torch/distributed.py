"""Several processes, on one machine or many, that do one job in parts: those of `torchrun`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist

__all__ = ["Ranks", "joined", "local_rank"]


class Ranks(NamedTuple):
    """This process's number and how many there are."""

    rank: int = 0
    size: int = 1

    def gather(self, content: bytes) -> list[bytes]:
        """What every process gives, in the order of their numbers; all of them must call this."""
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
def joined() -> Iterator[Ranks]:
    """Join the processes that `torchrun` started, if it did, until the block ends."""
    if not dist.is_available():
        yield Ranks()
        return
    started = not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if started:
        dist.init_process_group("gloo")
    try:
        there = dist.is_initialized()
        yield Ranks(dist.get_rank(), dist.get_world_size()) if there else Ranks()
    finally:
        if started:
            dist.destroy_process_group()


def local_rank() -> int:
    """This process's number on its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))
