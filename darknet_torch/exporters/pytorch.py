"""PyTorch's own files: .safetensors with the cfg in its metadata, .pt and .pth of torch.save."""

from pathlib import Path

from darknet_torch.network import Network, checkpoint_file
from darknet_torch.network.folding import fold

__all__ = ["write"]


def write(network: Network, path: Path, *, fuse: bool = False) -> None:
    """Write a network's tensors in their own precision; `load(path)` reads them back.

    Args:
        network: a Network with values.
        path: a .safetensors, .pt or .pth file.
        fuse: batch norm becomes part of the weights, and the cfg is without it.

    Raises:
        UsageError: safetensors is not installed.
        WeightsError: the network has no values, or the file cannot be written.
    """
    network = fold(network) if fuse else network
    checkpoint_file.write(network, path)
