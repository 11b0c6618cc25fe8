"""A cfg's layers in their places: plan, nn.Module, and the files of its weights."""

from darknet_torch.network.network import Header, Network, Runnable, State

__all__ = ["Header", "Network", "Runnable", "State"]
