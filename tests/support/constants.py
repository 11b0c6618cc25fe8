"""Tensors that a network computes with and that would stay behind when it moves to a card."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["strange_constants"]


def strange_constants(network: nn.Module, run: Callable[[Tensor], Any], x: Tensor) -> list[str]:
    """Run a network, and return the operations that read a tensor from elsewhere.

    From elsewhere is what is neither the input, a parameter or a buffer, nor computed from these
    or made on their device: tables that are attributes, and numbers of Python that are copied to
    the device at each pass. The first fail on a card, the second cannot be part of a CUDA graph.
    """
    known = [x, *network.parameters(), *network.buffers()]
    with torch.no_grad(), _Watch(known) as watch:
        run(x)
    return watch.strange


class _Watch(TorchDispatchMode):
    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.known = list(known)  # which keeps them alive, so that no address is used twice
        self.addresses = {address(each) for each in known}
        self.strange: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        read = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        if any(each.numel() and address(each) not in self.addresses for each in read):
            self.strange.append(str(function))
        made = function(*args, **(kwargs or {}))
        if self.strange[-1:] == [str(function)] and "lift_fresh" in str(function):
            return made  # a tensor from numbers of Python; its readers are named too
        for each in tree_leaves(made):
            if isinstance(each, Tensor):
                self.known.append(each)
                self.addresses.add(address(each))
        return made


def address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
