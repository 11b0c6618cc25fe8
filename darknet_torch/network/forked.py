"""Computing in a process that was forked from one that had computed.

torch computes with the threads of OpenMP. A fork does not have them, and waits for them for ever;
on one thread it computes by itself. Web servers with `preload` fork, and so does `multiprocessing`
on Linux before Python 3.14.
"""

import os

import torch

from darknet_torch.errors import warn

__all__ = ["before_computing"]

_process: int | None = None
"""The process that computed last: this one, or one that it was forked from."""


def before_computing() -> None:
    """Note that this process computes; a fork of one that did goes on with one thread, warned."""
    global _process
    process, before = os.getpid(), _process
    if process == before:
        return
    _process = process
    if before is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        warn(
            "this process is a fork of one that had computed, whose threads it does not have: it"
            ' computes on one; those of multiprocessing.get_context("spawn") have all'
        )
