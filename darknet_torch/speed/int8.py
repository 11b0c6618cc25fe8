"""Which convolutions of a network are computed in 8 bits, and how their inputs are rounded.

Both are measured on images for calibration: the range of each layer's input, and what 8 bits cost
in mAP, see `exporters.int8`.
"""

import math
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from functools import partial
from os import PathLike

import torch
from torch import Tensor, nn

from darknet_torch.errors import UsageError, warn
from darknet_torch.exporters.calibration import Samples, read_samples
from darknet_torch.exporters.calibration_options import Calibration, Method
from darknet_torch.exporters.int8 import float32_layers
from darknet_torch.network import Network
from darknet_torch.speed.int8_conv import Quantization, multiplies_int8
from darknet_torch.speed.onednn_graph import has_tiny_layers
from darknet_torch.speed.packed_layers import can_pack, packed

__all__ = ["quantizations_for"]

RAREST = 1e-5
"""Share of the values in an image that "percentile" leaves out at either end."""


def quantizations_for(
    network: Network,
    calibration: Calibration | str | PathLike[str] | None,
    layout: torch.memory_format,
) -> dict[int, Quantization]:
    """Return the layers that are computed in 8 bits, and how the input of each is rounded.

    Args:
        network: a network in float32 without batch norm.
        calibration: images, see `optimize`.
        layout: memory format of the maps.

    Raises:
        UsageError: there is no calibration, or its method is "entropy".
        DataError: there is no image that can be used.
    """
    if calibration is None:
        raise UsageError("dtype=int8: needs calibration, images on which ranges are measured")
    if not isinstance(calibration, Calibration):
        calibration = Calibration(calibration)
    if calibration.method == "entropy":
        raise UsageError("calibration=entropy: optimize has percentile and minmax")
    if reason := _why_impossible(network):
        warn(f"int8: {reason}; computing in float32")
        return {}
    samples = read_samples(network, calibration)  # wrong data is an error on any processor
    if reason := _why_slower(network):
        warn(f"int8: {reason}; computing in float32")
        return {}
    known = _quantizations(network, samples, calibration.method)

    def quantized(keep: Collection[int] | None) -> Network:
        inside = {} if keep is None else _without(known, keep)
        return packed(network, [torch.float32] * len(network.plan), layout, quantizations=inside)

    return _without(known, float32_layers(network, list(known), quantized, samples, calibration))


def _why_impossible(network: Network) -> str:
    """Return why nothing of a network can be in 8 bits; empty if something can."""
    if network.stateful:
        return "the network has recurrent layers"
    if not any(can_pack(layer, torch.float32) for layer in network.layers):
        return "no convolution can be in 8 bits"
    return ""


def _why_slower(network: Network) -> str:
    """Return why a network is faster in float32; empty if it is not."""
    if has_tiny_layers(network):
        return "its layers are so small that float32 is faster"
    if not multiplies_int8(network.device):
        return "this processor multiplies it not clearly faster, or not exactly"
    return ""


def _without(known: dict[int, Quantization], keep: Collection[int]) -> dict[int, Quantization]:
    return {index: each for index, each in known.items() if index not in keep}


@torch.inference_mode()
def _quantizations(network: Network, samples: Samples, method: Method) -> dict[int, Quantization]:
    """Return how the inputs of the layers that can be in 8 bits are rounded.

    A range is that of all images, or the mean of those without the rarest values. Layers that read
    infinite values are left out.
    """
    rarest = 0.0 if method == "minmax" else RAREST
    found: dict[int, list[tuple[float, float]]] = {}
    with ExitStack() as hooks:
        for index, layer in enumerate(network.layers):
            if can_pack(layer, torch.float32):
                note = partial(_note_ends, found.setdefault(index, []), rarest)
                hooks.callback(layer.register_forward_pre_hook(note).remove)
        for image in samples.inputs:
            network(torch.from_numpy(image))
    ranges = {index: _range(ends, method) for index, ends in found.items()}
    finite = {index: each for index, each in ranges.items() if all(map(math.isfinite, each))}
    return {index: Quantization.of(*each) for index, each in finite.items()}


def _note_ends(
    found: list[tuple[float, float]], rarest: float, _: nn.Module, inputs: tuple[Tensor, ...]
) -> None:
    """Note the least and the largest value of an input, but for a share of the rarest."""
    values = inputs[0].flatten()
    count = 1 + int(rarest * len(values))
    low, high = values.topk(count, largest=False).values, values.topk(count).values
    found.append((float(low[-1]), float(high[-1])))


def _range(ends: Sequence[tuple[float, float]], method: Method) -> tuple[float, float]:
    low, high = zip(*ends, strict=True)
    if method == "minmax":
        return min(low), max(high)
    return sum(low) / len(low), sum(high) / len(high)
