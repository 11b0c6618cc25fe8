"""A cfg's layers in their places: plan, nn.Module, and the files of its weights."""

from darknet_torch.network.network import (
    Contents,
    Header,
    Network,
    Runnable,
    State,
    as_network,
)

__all__ = ["Contents", "Header", "Network", "Runnable", "State", "as_network"]
