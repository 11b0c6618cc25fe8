"""A cfg's layers in their places: plan, nn.Module, and the files of its weights."""

from darknet_torch.network.network import Header, Network, as_network
from darknet_torch.network.runnable import Contents, Runnable
from darknet_torch.network.state import State

__all__ = ["Contents", "Header", "Network", "Runnable", "State", "as_network"]
