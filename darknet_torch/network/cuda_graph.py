"""Work on a graphics card, recorded once: one launch in place of one a kernel."""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import torch
from torch import Tensor

__all__ = ["CudaGraph"]

WARM = 3
_recording = Lock()
"""One thread at a time: a card must not be waited for as a whole while another one records, and
each recording begins with that."""


class CudaGraph:
    """A recorded function of tensors of given shapes.

    Args:
        run: the function; it waits for nothing.
        inputs: on the card; they belong to the graph, and `run` reads them at every replay.
        warm: calls before it is recorded: they choose algorithms and take memory.
        pool: a `torch.cuda.graph_pool_handle()` for its memory; of graphs that share one, only one
            runs at a time, and its outputs are lost when another one runs. None: its own.

    Raises:
        RuntimeError: the function does something that cannot be recorded.
    """

    def __init__(
        self,
        run: Callable[..., Sequence[Tensor]],
        inputs: Sequence[Tensor],
        *,
        warm: int = WARM,
        pool: Any = None,
    ) -> None:
        self.inputs, device = tuple(inputs), inputs[0].device
        self.graph = torch.cuda.CUDAGraph()
        with _recording, torch.cuda.device(device):
            aside = torch.cuda.Stream(device)
            aside.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(aside):
                for _ in range(warm):
                    run(*self.inputs)
            torch.cuda.current_stream(device).wait_stream(aside)
            # By default it would forbid what other threads do on the card.
            mode = "thread_local"
            with torch.cuda.graph(self.graph, pool, aside, capture_error_mode=mode):
                self.outputs = tuple(run(*self.inputs))

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run again; return its own outputs, which the next run overwrites.

        Args:
            inputs: of the recorded shapes, in any type and memory format.
        """
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.outputs
