"""PyTorch's own files: .safetensors with the cfg in its metadata, .pt and .pth of torch.save."""

from pathlib import Path

from darknet_torch.network import Network, checkpoint_file
from darknet_torch.network.folding import fold

__all__ = ["write"]


def write(network: Network, path: Path, *, fuse: bool = False) -> None:
    """Write a network's tensors in the precision that they have; `load(path)` reads them back.

    fuse: with batch norm in the weights, and the cfg without it.
    Raises UsageError where safetensors is not installed, WeightsError where nothing can be written.
    """
    network = fold(network) if fuse else network
    checkpoint_file.write(network, path)
