"""Convolutions of few pixels on a graphics card: their products are split among its processors.

cuDNN gives each processor some pixels and filters, and of 13 x 13 pixels there are tiles for a
third of them only. Here the sums, too, are split; a second kernel adds the parts, adds biases and
activates. Which tiles are the fastest, or whether cuDNN is, depends on the card: it is measured.
"""

from collections.abc import Sequence
from functools import cache, partial
from importlib import util
from typing import NamedTuple, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_torch.errors import warn
from darknet_torch.layers.activation import activate
from darknet_torch.layers.blocks import ConvBlock, has_plain_conv
from darknet_torch.speed.card_trials import milliseconds
from darknet_torch.speed.stem import ACTIVATIONS, TOLERANCE

__all__ = [
    "TILES",
    "CardTiles",
    "ConvProblem",
    "Split",
    "best_split",
    "can_split",
    "split_conv",
    "split_for",
]

MOST_PIXELS, FEWEST_PRODUCTS = 1024, 1024
"""Pixels of a batch, and products in a sum, of convolutions that are tried."""
CHANNELS, FILTERS = 128, 16
"""Channels and filters come in multiples of them."""
MOST_PARTS = 16
CACHE = 64 << 20
"""Bytes of weights that a card's cache does not hold; in a network, too, others come between."""
MOST_COPIES = 16
CLEARLY = 0.97
"""Largest share of cuDNN's time."""


class CardTiles(NamedTuple):
    """How a card computes a convolution.

    Attributes:
        m: pixels of a program.
        n: its filters.
        k: products that it reads at a time.
        warps: of a program.
        stages: blocks of k products that are read ahead.
    """

    m: int
    n: int
    k: int
    warps: int
    stages: int


TILES = (
    (CardTiles(64, 128, 64, 4, 4), 1),
    (CardTiles(64, 128, 64, 4, 4), 2),
    (CardTiles(128, 64, 64, 4, 4), 1),
    (CardTiles(128, 128, 64, 8, 3), 1),
    (CardTiles(64, 64, 64, 4, 4), 3),
    (CardTiles(64, 64, 128, 4, 3), 2),
)
"""What is tried, and how many programs a processor of the card shall have at once."""


class Split(NamedTuple):
    """Tiles, and how many parts the products of a sum are split into."""

    tiles: CardTiles
    parts: int


def split_for(tiles: CardTiles, programs: int, pixels: int, filters: int, products: int) -> Split:
    """Return the parts that give a card the programs that it computes at once, or fewer.

    Args:
        tiles: of a program.
        programs: that the card computes at once.
        pixels: of the batch.
        filters: of the convolution.
        products: in a sum.
    """
    whole = -(-pixels // tiles.m) * -(-filters // tiles.n)
    blocks = -(-products // tiles.k)
    parts = max(1, min(programs // whole, MOST_PARTS, blocks))
    return Split(tiles, -(-blocks // -(-blocks // parts)))  # none without a block


def can_split(layer: nn.Module, dtype: torch.dtype) -> TypeGuard[ConvBlock]:
    """Return whether a layer's convolution can be split where its input has few pixels.

    Args:
        layer: of a network without batch norm.
        dtype: that it computes in.
    """
    if not has_plain_conv(layer):
        return False
    conv = layer.conv
    weight = conv.weight
    if dtype not in (torch.float16, torch.bfloat16) or not weight.is_cuda or conv.bias is None:
        return False
    filters, channels, size = weight.shape[:3]
    return (
        util.find_spec("triton") is not None
        and conv.kernel_size in ((1, 1), (3, 3))
        and conv.padding == (size // 2, size // 2)
        and (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)
        and channels % CHANNELS == 0
        and filters % FILTERS == 0
        and weight[0].numel() >= FEWEST_PRODUCTS
        and weight.permute(0, 2, 3, 1).is_contiguous()
        and layer.activation in ACTIVATIONS
        and getattr(layer, "blur", None) is None
    )


def split_conv(x: Tensor, weight: Tensor, bias: Tensor, split: Split, activation: str) -> Tensor:
    """Convolve (B, c, H, W) -> (B, filters, H, W), add biases, activate.

    Args:
        x: in the type of the weights.
        weight: (filters, c, size, size), channels last in memory.
        bias: (filters,).
        split: see `best_split`.
        activation: its name.
    """
    rows = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
    tiles = [*split.tiles, split.parts]
    y = torch.ops.darknet_torch.split_conv(x, rows, bias, tiles, activation)
    return cast(Tensor, y)


class ConvProblem(NamedTuple):
    """What the fastest way to compute a convolution depends on.

    Attributes:
        device: the card.
        dtype: that it computes in.
        shape: (B, c, H, W) of its input.
        weight_shape: (filters, c, size, size).
        activation: its name.
    """

    device: torch.device
    dtype: torch.dtype
    shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    activation: str


@cache
def best_split(problem: ConvProblem) -> Split | None:
    """Return how a convolution that `can_split` accepts is computed fastest; None: by cuDNN."""
    if _pixels(problem.shape) > MOST_PIXELS:
        return None
    try:
        return _tried(problem)
    except Exception as error:
        warn(f"a convolution is left to cuDNN: {type(error).__name__}: {error}")
        return None


def _tried(problem: ConvProblem) -> Split | None:
    """Try cuDNN and all tiles with random values; return what is clearly faster than cuDNN."""
    device, dtype, shape, weight_shape, activation = problem
    values = torch.Generator(device).manual_seed(0)  # the user's stays as it is
    last = torch.channels_last
    x, weight = (
        torch.randn(size, generator=values, device=device).to(dtype).contiguous(memory_format=last)
        for size in (shape, weight_shape)
    )
    weight *= weight[0].numel() ** -0.5
    bias = torch.randn(len(weight), generator=values, device=device).to(dtype)
    copies = min(MOST_COPIES, -(-CACHE // (weight.numel() * weight.itemsize)))
    inputs = [(x, weight.clone(), bias) for _ in range(copies)]
    want = activate(activation, F.conv2d(x, weight, bias, padding=weight_shape[2] // 2))
    plain = partial(_by_cudnn, activation=activation)
    times: dict[Split | None, float] = {None: CLEARLY * milliseconds(plain, inputs)}
    errors = []
    for split in _candidates(device, shape, weight):
        run = partial(split_conv, split=split, activation=activation)
        try:
            if float((run(*inputs[0]) - want).abs().max() / want.abs().max()) < TOLERANCE:
                times[split] = milliseconds(run, inputs)
        except Exception as error:  # such as tiles that do not fit into the card's memory
            errors.append(error)
    if len(errors) == len(TILES):
        raise errors[-1]
    return min(times, key=lambda split: times[split])


def _pixels(shape: Sequence[int]) -> int:
    return shape[0] * shape[2] * shape[3]


def _candidates(device: torch.device, shape: Sequence[int], weight: Tensor) -> list[Split]:
    """Return what the card is tried with."""
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    size = _pixels(shape), len(weight), weight[0].numel()
    return [split_for(tiles, programs * processors, *size) for tiles, programs in TILES]


def _by_cudnn(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    """Compute what a compiled network does: biases and activation in one more kernel."""
    y = F.conv2d(x, weight, padding=weight.shape[2] // 2)
    if activation == "linear":
        return y.add_(bias[:, None, None])
    return activate(activation, y, in_place=True)


def _empty_output(
    x: Tensor, rows: Tensor, bias: Tensor, tiles: list[int], activation: str
) -> Tensor:
    size = (len(x), len(rows), *x.shape[2:])
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _split_conv(x: Tensor, rows: Tensor, bias: Tensor, tiles: list[int], activation: str) -> Tensor:
    from darknet_torch.speed import split_kernel

    x, rows = x.contiguous(memory_format=torch.channels_last), rows.contiguous()
    y = _empty_output(x, rows, bias, tiles, activation)
    split_kernel.launch(x, rows, bias, y, tiles, activation)
    return y


_LIBRARY = torch.library.Library("darknet_torch", "FRAGMENT")
_LIBRARY.define(
    "split_conv(Tensor x, Tensor rows, Tensor bias, int[] tiles, str activation) -> Tensor"
)
_LIBRARY.impl("split_conv", _split_conv, "CompositeExplicitAutograd")
torch.library.register_fake("darknet_torch::split_conv", _empty_output, lib=_LIBRARY)
