"""Running statistics of batch norm under several processes: those that one process would have.

One process updates r <- (1 - m) r + m v with each of S mini-batches in turn. Here every process
starts with the same r and sees a run of n = S / R of them, the first process the first n, and so
on. What a process added, its result minus (1 - m)^n r, decays by the mini-batches behind its own.
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from darknet_torch.distributed import Ranks

__all__ = ["RankStatistics"]


class RankStatistics:
    """Joins the running statistics of all processes after each batch.

    Args:
        network: the same in all processes.
        ranks: the processes.
        mini_batches: number of forward passes of each process for a batch.
    """

    def __init__(self, network: nn.Module, ranks: Ranks, mini_batches: int) -> None:
        self.ranks, self.count = ranks, mini_batches
        pairs = list(_statistics(network))
        self.tensors = [tensor for tensor, _ in pairs]
        self.kept = [(1 - momentum) ** mini_batches for _, momentum in pairs]
        self.before: list[Tensor] = []

    def begin(self) -> None:
        """Note the statistics before a batch."""
        self.before = [tensor.clone() for tensor in self.tensors]

    def join(self) -> None:
        """Replace the statistics by those of all processes' mini-batches."""
        if self.ranks.size == 1 or not self.tensors:
            return
        later = self.ranks.size - 1 - self.ranks.rank
        parts = [
            (tensor - kept * before) * kept**later
            for tensor, before, kept in zip(self.tensors, self.before, self.kept, strict=True)
        ]
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        sums = flat.split([part.numel() for part in parts])
        for tensor, before, kept, total in zip(
            self.tensors, self.before, self.kept, sums, strict=True
        ):
            tensor.copy_(before * kept**self.ranks.size + total.view_as(tensor))

    def restore(self) -> None:
        """Set the statistics to what they were before the batch."""
        for tensor, before in zip(self.tensors, self.before, strict=True):
            tensor.copy_(before)


def _statistics(network: nn.Module) -> Iterator[tuple[Tensor, float]]:
    """Yield each running mean and variance that training changes, with its momentum."""
    seen = set[int]()
    for module in network.modules():
        if isinstance(module, _NormBase) and module.training and module.running_mean is not None:
            for tensor in (module.running_mean, module.running_var):
                if tensor is not None and id(tensor) not in seen and module.momentum is not None:
                    seen.add(id(tensor))
                    yield tensor, module.momentum
