"""[dropout], [silence]: layers that pass their input on at inference."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_torch.layers.base import Function, Layer, Shape
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import option


@layer("dropout")
class Dropout(Layer):
    """[dropout]: the identity at inference; in training some values, or blocks, become zero.

    What is left is scaled so that the mean stays. With `dropblock` square blocks of a map are
    dropped (Ghiasi, Lin, Le: DropBlock, 2018), `dropblock_size_abs` pixels wide, or
    `dropblock_size_rel` of the map's shorter side.
    """

    probability: float = option(0.5, in_fork={ALEXEYAB: 0.2})
    dropblock: bool = option(False, only=ALEXEYAB)
    dropblock_size_rel: float = option(0.0, only=ALEXEYAB)
    dropblock_size_abs: int = option(0, only=ALEXEYAB)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the module, which drops values in training mode only."""
        return _Dropout(self)

    def drop(self, x: Tensor) -> Tensor:
        """Return (B, c, h, w) or (B, n) with some values set to zero and the others scaled."""
        p = min(max(self.probability, 0.0), 1.0)
        if self.dropblock and x.dim() == 4:
            return self._drop_blocks(x, p)
        return F.dropout(x, p)

    def _drop_blocks(self, x: Tensor, p: float) -> Tensor:
        height, width = x.shape[2:]
        wanted = self.dropblock_size_abs or round(self.dropblock_size_rel * min(height, width))
        side = min(max(wanted, 1), height, width)
        inside = (height - side + 1) * (width - side + 1)
        rate = p * height * width / (side * side * inside)
        corners = torch.rand(*x.shape[:2], height - side + 1, width - side + 1, device=x.device)
        dropped = F.pad((corners < rate).to(x.dtype), (side - 1,) * 4)
        kept = 1 - F.max_pool2d(dropped, side, stride=1)
        return x * kept * (kept.numel() / kept.sum().clamp_min(1))


class _Dropout(Function):
    """Drops values in training mode."""

    def __init__(self, layer: Dropout) -> None:
        super().__init__(layer)
        self.drop = layer.drop

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.drop(inputs[0]) if self.training else super().forward(*inputs)


@layer("silence", "empty", "blank", only=ALEXEYAB)
class Silence(Layer):
    """[silence], [empty], [blank]: the identity."""
