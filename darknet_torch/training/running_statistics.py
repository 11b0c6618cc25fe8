"""Running statistics of batch norm in training: how fast they follow, and those of all processes.

One process updates r <- (1 - m) r + m v with each of S mini-batches in turn. Of R processes each
starts with the same r and sees a run of n = S / R of them, the first process the first n, and so
on. What a process added, its result minus (1 - m)^n r, decays by the mini-batches behind its own.
"""

from typing import TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn

from darknet_torch.distributed import Ranks

__all__ = ["RunningStatistics"]


class RunningStatistics:
    """Sets how fast running statistics follow, and joins those of all processes after each batch.

    Args:
        network: the same in all processes.
        ranks: the processes.
        mini_batches: number of forward passes of each process for a batch.
    """

    def __init__(self, network: nn.Module, ranks: Ranks, mini_batches: int) -> None:
        self.ranks, self.count = ranks, mini_batches
        self.norms = [each for each in network.modules() if _follows(each)]
        self.momenta = [norm.momentum for norm in self.norms]
        statistics = [t for norm in self.norms for t in (norm.running_mean, norm.running_var)]
        self.tensors = list({id(each): each for each in statistics if each is not None}.values())
        self.before: list[Tensor] = []
        self.kept = 1.0

    def begin(self, momentum: float) -> None:
        """Note the statistics before a batch, of which each mini-batch then takes a share."""
        for norm in self.norms:
            if norm.momentum != momentum:
                norm.momentum = momentum
        self.kept = (1 - momentum) ** self.count
        self.before = self.before or [torch.empty_like(each) for each in self.tensors]
        _copy(self.tensors, self.before)

    def end(self) -> None:
        """Give the modules their own momentum back."""
        for norm, momentum in zip(self.norms, self.momenta, strict=True):
            norm.momentum = momentum

    def join(self) -> None:
        """Replace the statistics by those of all processes' mini-batches."""
        if self.ranks.size == 1 or not self.tensors:
            return
        share = self.kept ** (self.ranks.size - 1 - self.ranks.rank)
        pairs = list(zip(self.tensors, self.before, strict=True))
        parts = [(tensor - self.kept * before) * share for tensor, before in pairs]
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        sums = flat.split([part.numel() for part in parts])
        for (tensor, before), total in zip(pairs, sums, strict=True):
            tensor.copy_(before * self.kept**self.ranks.size + total.view_as(tensor))

    def restore(self) -> None:
        """Set the statistics to what they were before the batch."""
        _copy(self.before, self.tensors)


@torch.no_grad()
def _copy(source: list[Tensor], into: list[Tensor]) -> None:
    """Copy tensors, which a graphics card does in one operation."""
    if source:
        torch._foreach_copy_(into, source)


def _follows(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Return whether a module has running statistics that training changes."""
    return isinstance(module, nn.BatchNorm2d) and module.training
