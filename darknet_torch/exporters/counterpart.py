"""A network that does what a converted file does to its input and output, to compare the two."""

from typing import Any

import torch
from torch import Tensor, nn

from darknet_torch.exporters.tracing import prepared
from darknet_torch.inference.layouts import best_class, in_256_steps
from darknet_torch.network import Contents, Network
from darknet_torch.network.origin import Origin
from darknet_torch.network.plan import Plan

__all__ = ["Counterpart"]


class Counterpart(nn.Module):
    """A network as a file has it: with images in 256 steps, or one class a box; it is `Runnable`.

    Args:
        network: with values.
        origin: the record of the file.
    """

    concurrent = False

    def __init__(self, network: Network, origin: Origin) -> None:
        super().__init__()
        self.origin, self.names = origin, network.names
        self.letterbox = network.letterbox if origin.letterbox is None else origin.letterbox
        self.contents: Contents = "raw" if origin.contents == "raw" else "boxes"
        self.exported = prepared(network, self.contents)

    @property
    def plan(self) -> Plan:
        """Its layers and shapes."""
        return self.exported.network.plan

    @property
    def device(self) -> torch.device:
        """The processor."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """float32, whatever the file computes in."""
        return torch.float32

    @property
    def input_dtype(self) -> torch.dtype:
        """float32."""
        return torch.float32

    def forward(self, x: Tensor) -> Any:
        """Return the outputs for images (B, C, H, W) in 0..1."""
        if self.origin.takes_bytes:
            x = in_256_steps(x).float() / 255
        outputs = self.exported(x)
        if self.origin.layout == "deepstream":
            boxes, scores = outputs
            return boxes, best_class(scores)
        return outputs
