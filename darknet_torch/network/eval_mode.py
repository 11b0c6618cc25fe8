"""Networks in training mode, computed as at inference for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from darknet_torch.network.runnable import Runnable

__all__ = ["in_eval_mode"]


@contextmanager
def in_eval_mode(network: Runnable) -> Iterator[None]:
    """Put every module that is in training mode into eval mode, and back afterwards.

    In training mode batch norm takes the statistics of the batch, and moves its running ones.
    """
    modules = network.modules() if isinstance(network, nn.Module) else ()
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
