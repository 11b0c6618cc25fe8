"""The maps of a layer for an image, side by side in one picture."""

import math
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.inference.prepared import Prepared, as_batch
from darknet_torch.network import Network, Runnable
from darknet_torch.network.schedule import schedule
from darknet_torch.speed.optimized import Optimized

__all__ = ["MOST_MAPS", "layer_maps", "maps_picture", "network_inside"]

MOST_MAPS = 64
"""Channels in one picture."""
LARGEST = 160
"""Pixels of the longer side of a map; larger ones are averaged."""
GAP, GROUND = 1, 32
"""Pixels between maps, and their grey."""


def network_inside(network: Runnable) -> Network | None:
    """Return the network whose layers can be run one by one; None of a converted file."""
    inside = network.network if isinstance(network, Optimized) else network
    return inside if isinstance(inside, Network) else None


@torch.inference_mode()
def layer_maps(network: Runnable, image: Prepared, index: int) -> Tensor:
    """Return the output of a layer for one image, (C, h, w) float32 on the CPU.

    A vector is (1, h, w), in rows that fill a square.

    Args:
        network: a Network, or an optimized one.
        image: as it was prepared for it.
        index: of the layer.

    Raises:
        UsageError: a converted file, or there is no such layer.
    """
    inside = network_inside(network)
    if inside is None:
        raise UsageError("a converted file has no layers that can be looked at")
    if not 0 <= index < len(inside.plan):
        raise UsageError(f"layer {index}: there are layers 0 to {len(inside.plan) - 1}")
    steps = schedule(inside.plan, (index,))
    output = inside.run(steps, as_batch([image], network), {})[index][0].float().cpu()
    return output if output.dim() == 3 else _in_rows(output.flatten())


def _in_rows(values: Tensor) -> Tensor:
    """Return a vector as one map, its last row filled up with its lowest value."""
    width = math.ceil(math.sqrt(len(values)))
    missing = -len(values) % width
    return F.pad(values, (0, missing), value=float(values.min())).reshape(1, -1, width)


def maps_picture(maps: Tensor, first: int = 0) -> bytes:
    """Return a PNG of up to 64 maps side by side, each from black (its least) to white.

    Args:
        maps: (C, h, w); what is not finite is black.
        first: the channel to begin with.

    Raises:
        UsageError: there is no such channel.
    """
    if not 0 <= first < len(maps):
        raise UsageError(f"channel {first}: there are channels 0 to {len(maps) - 1}")
    grey = _grey(_small(maps[first : first + MOST_MAPS]))
    count, height, width = grey.shape
    columns = min(count, max(1, round(math.sqrt(count * height / width))))
    rows = -(-count // columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP), GROUND, np.uint8)
    for number, each in enumerate(grey.numpy()):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = each
    file = BytesIO()
    Image.fromarray(sheet).save(file, "PNG")
    return file.getvalue()


def _small(maps: Tensor) -> Tensor:
    longest = max(maps.shape[1:])
    if longest <= LARGEST:
        return maps
    height, width = (max(1, side * LARGEST // longest) for side in maps.shape[1:])
    return F.adaptive_avg_pool2d(maps[None], (height, width))[0]


def _grey(maps: Tensor) -> Tensor:
    """Return (C, h, w) uint8, each map stretched from its least value to its largest."""
    maps = torch.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return ((maps - low) / (high - low).clamp_min(1e-12) * 255).round().byte()
