"""Which type this processor multiplies faster: it is measured."""

import math
import time
from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor

from darknet_torch.speed.onednn import is_supported

__all__ = ["SIDE", "is_clearly_faster", "is_faster_than_float32"]

TRIALS = 24
"""Calls of each function that is measured, of which the fastest counts."""
CLEARLY = 0.8
"""The share of the time of float32 that a faster type takes at most.

Units that are made for a type take half the time of float32 or less. What is nearer to it may be
slower at the next try, where other programs run: the same command would give other weights.
"""
SIDE = 26
"""Height and width of the map that is convolved: in a millisecond, which other programs seldom
interrupt. Of longer calls all may be interrupted, and then their times say nothing."""


@cache
def is_faster_than_float32(dtype: torch.dtype) -> bool:
    """Return whether this processor convolves faster in a type than in float32: it is measured.

    Instructions alone do not tell. AVX512-BF16 multiplies twice as fast as float32 on some
    processors, and more slowly than float32 on others.
    """
    cpu = torch.device("cpu")
    if not is_supported(cpu, dtype):
        return False

    def convolve(dtype: torch.dtype) -> Tensor:
        x = torch.ones(1, 128, SIDE, SIDE, dtype=dtype, device=cpu)
        weight = torch.ones(128, 128, 3, 3, dtype=dtype, device=cpu)
        return torch.conv2d(x.contiguous(memory_format=torch.channels_last), weight, padding=1)

    return is_clearly_faster(partial(convolve, dtype), partial(convolve, torch.float32))


def is_clearly_faster(call: Callable[[], object], other: Callable[[], object]) -> bool:
    """Return whether a function takes so much less time than another that it is no chance."""
    seconds = least_seconds([call, other])
    return seconds[0] <= CLEARLY * seconds[1]


@torch.inference_mode()
def least_seconds(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Return the least time that each of some functions takes on one core, called in turns.

    On several cores the threads would wait for one another where the machine has other work.
    """
    seconds, threads = [math.inf] * len(calls), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(TRIALS):
            for index, call in enumerate(calls):
                start = time.perf_counter()
                call()
                seconds[index] = min(seconds[index], time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return seconds
