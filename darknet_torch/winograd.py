"""3 x 3 convolutions with fewer products, by Winograd's minimal filtering F(2 x 2, 3 x 3).

Four outputs of a filter take 16 products instead of 36 (Lavin and Gray, Fast Algorithms for
Convolutional Neural Networks, 2015, section 4.1): a tile of 4 x 4 inputs and the filter are each
brought into a space in which the convolution is 16 independent products, which are one grouped
1 x 1 convolution, and the result is brought back. With many channels the products saved are worth
the two passes over memory. In float32 the error is about that of the plain sum.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_torch.layers.activation import activate
from darknet_torch.layers.base import Shape
from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.network import Network

__all__ = ["WinogradConv", "suits", "with_winograd"]

SIDE = 4
"""Of a tile of inputs; tiles are 2 apart."""
POINTS = SIDE * SIDE
FILTER = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
"""What brings a filter's rows, and its columns, into the space of products (G)."""
CENTRE = 5
"""The product that goes into all four outputs with the factor 1: it takes the bias along."""
LEAST_CHANNELS = 80
"""Inputs x filters / (inputs + filters) from which on it is faster, measured on two cores."""
LARGEST_SHARE = 0.6
"""Of the plain convolution's products; more are left at the edges of small maps of odd sides."""


def suits(block: ConvBlock, shape: Shape) -> bool:
    """Say whether a block's convolution of an input (c, h, w) is one that this makes faster."""
    conv, (_, height, width) = block.conv, shape
    plain = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    if plain != ((3, 3), (1, 1), (1, 1), (1, 1), 1) or block.bn is not None or block.xnor:
        return False
    if conv.weight.dtype != torch.float32 or conv.weight.device.type != "cpu":
        return False
    share = POINTS * -(-height // 2) * -(-width // 2) / (9 * height * width)
    channels = conv.in_channels * conv.out_channels / (conv.in_channels + conv.out_channels)
    return share <= LARGEST_SHARE and channels >= LEAST_CHANNELS


def with_winograd(folded: Network) -> Network:
    """Return a network that shares all but the convolutions that this makes faster."""
    result = Network(folded.plan, folded.names)
    for node, module in zip(folded.plan, folded.layers, strict=True):
        shape = node.input_shapes[0]
        if isinstance(module, ConvBlock) and suits(module, shape):
            result.layers[node.index] = WinogradConv(module)
        else:
            result.layers[node.index] = module
    return result


class WinogradConv(nn.Module):
    """A ConvBlock without batch norm that `suits`: (B, c, h, w) -> (B, filters, h, w).

    tiles: how many of them oneDNN's layout of the weights is chosen for; None: plain weights, for
    a compiler that packs by itself.
    """

    def __init__(self, block: ConvBlock, tiles: int | None = None) -> None:
        super().__init__()
        conv, points = block.conv, torch.tensor(FILTER, dtype=torch.float64)
        self.channels, self.filters = conv.in_channels, conv.out_channels
        self.activation, self.blur = block.activation, getattr(block, "blur", None)
        turned = torch.einsum("ai,oxij,bj->abox", points, conv.weight.detach().double(), points)
        weight = turned.float().reshape(POINTS * self.filters, self.channels, 1, 1)
        weight = weight.contiguous(memory_format=torch.channels_last)
        bias = torch.zeros(POINTS, self.filters)
        bias[CENTRE] = 0 if conv.bias is None else conv.bias.detach()
        self.packed = tiles is not None
        if tiles is None:
            self.weight: Tensor = nn.Parameter(weight, requires_grad=False)
            self.bias: Tensor = nn.Parameter(bias.flatten(), requires_grad=False)
        else:
            # Plain attributes: opaque tensors can be neither saved, nor moved, nor copied.
            shape = [1, POINTS * self.channels, tiles, 1]
            self.weight = _onednn()._reorder_convolution_weight(weight, *_HOW, shape)
            self.bias = bias.flatten()

    def forward(self, x: Tensor) -> Tensor:
        """Bring tiles into the space of products, multiply, bring them back, activate."""
        batch, _, height, width = x.shape
        rows, columns = (height + 1) // 2, (width + 1) // 2
        tiles = _turned(x, rows, columns).reshape(1, -1, 1, POINTS * self.channels)
        products = self._products(tiles.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y = _back(products.reshape(batch, rows, columns, SIDE, SIDE, self.filters))
        y = activate(self.activation, y, in_place=True)
        y = y.view(batch, 2 * rows, 2 * columns, self.filters)[:, :height, :width]
        y = y.permute(0, 3, 1, 2)
        return y if self.blur is None else cast(Tensor, self.blur(y))

    def _products(self, tiles: Tensor) -> Tensor:
        """(1, 16 c, T, 1) -> (1, 16 filters, T, 1): each of the 16 in a group of its own."""
        if not self.packed:
            return F.conv2d(tiles, self.weight, self.bias, groups=POINTS)
        found = _onednn()._convolution_pointwise(
            tiles, self.weight, self.bias, *_HOW, "none", [], ""
        )
        return cast(Tensor, found)


_HOW: tuple[list[int], list[int], list[int], int] = ([0, 0], [1, 1], [1, 1], POINTS)


def _turned(x: Tensor, rows: int, columns: int) -> Tensor:
    """Tiles in the space of products: (B, c, h, w) -> (B, rows, columns, 4, 4, c)."""
    right, below = 2 * columns - x.shape[3] + 1, 2 * rows - x.shape[2] + 1
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, right, 1, below))
    first = [padded[:, i : i + 2 * rows : 2] for i in range(SIDE)]
    both = torch.stack(_differences(first), dim=3)
    then = [both[:, :, j : j + 2 * columns : 2] for j in range(SIDE)]
    return torch.stack(_differences(then), dim=4)


def _differences(x: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3]


def _back(m: Tensor) -> Tensor:
    """Sums that are the outputs: (B, rows, columns, 4, 4, f) -> (B, rows, 2, columns, 2, f)."""
    a, b, c, d = m.unbind(dim=3)
    both = torch.stack((a + b + c, b - c - d), dim=2)
    a, b, c, d = both.unbind(dim=4)
    return torch.stack((a + b + c, b - c - d), dim=4)


def _onednn() -> Any:
    return torch.ops.mkldnn
