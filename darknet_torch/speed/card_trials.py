"""How long a call takes on a graphics card: it is measured."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from darknet_torch.network.cuda_graph import CudaGraph

__all__ = ["milliseconds"]

CALLS = 16
"""Calls in a CUDA graph: launching the graph must take less time than they do."""
REPLAYS, TRIALS = 4, 3
"""Runs of the graph in a trial, and trials, of which the fastest counts."""


def milliseconds(run: Callable[..., Tensor], inputs: Sequence[Sequence[Tensor]]) -> float:
    """Return the time of a call on a card, without that of the CPU, which launches it.

    A slow CPU launches a kernel in more time than the card computes it in; a network is a CUDA
    graph, and so are the calls here.

    Args:
        run: what is measured; it waits for nothing.
        inputs: of calls, in turns, on the card. Copies of the weights that do not all fit into the
            card's cache are read from its memory, as in a network.

    Raises:
        RuntimeError: it cannot be recorded.
    """

    def calls(_: Tensor) -> tuple[Tensor]:
        for number in range(CALLS):
            y = run(*inputs[number % len(inputs)])
        return (y,)

    graph = CudaGraph(calls, inputs[0][:1])
    times = list[float]()
    with torch.cuda.device_of(inputs[0][0]):
        for _ in range(TRIALS):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            graph.graph.replay()  # the card is busy while the CPU launches the rest
            start.record()
            for _ in range(REPLAYS):
                graph.graph.replay()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
    return min(times) / (REPLAYS * CALLS)
