"""The type that each layer of an optimized network computes in, and a warning where that is rough.

Half the bits are half the memory, and on many devices twice the speed. float16 ends at 65504, and
bfloat16 has 8 bits of mantissa: what a network loses by them depends on its weights, so it is
measured, on the sample image.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from darknet_torch.errors import warn
from darknet_torch.inference.sample import as_input, sample_image
from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.network import Network
from darknet_torch.network.plan import Plan
from darknet_torch.speed.onednn import computes_natively
from darknet_torch.speed.trials import is_faster_than_float32

__all__ = [
    "DTYPES",
    "Dtype",
    "SampleRun",
    "computed_in",
    "layer_dtypes",
    "run_sample",
    "type_name",
    "warn_if_rough",
]

Dtype = Literal["float32", "tf32", "bfloat16", "float16", "int8"]

DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,
}
"""What is between the products is computed in; of int8, and of tf32, that is float32."""
LONG_SUM = 288
"""Products in a long sum: 32 channels of 3 x 3. bfloat16's errors of 0.4 % cancel in it."""
MOSTLY_LONG = 0.9
"""Share of long sums from which on a network is computed in bfloat16 throughout.

In networks of fewer channels the short sums would move the boxes; in float32 they do not. Layers
that read the image are always float32: the error of their few weights is the same everywhere."""
ROOM = 8
"""How many times larger the values of other images may be than those of the sample image."""
ROUGH = 0.05
"""Largest difference of an output from float32, relative to its largest value, without a warning.

Real detectors stay below .04 in float16; networks of few bits, such as those with xnor, which
lose their boxes, are above .2."""


def type_name(dtype: torch.dtype) -> str:
    """Return the name of a type, such as float16."""
    return str(dtype).removeprefix("torch.")


def computed_in(network: Network, dtype: Dtype) -> torch.dtype:
    """Return the requested type, or float32 with a DarknetWarning if the device lacks it.

    What is not in 8 bits is float32 too. There is a DarknetWarning for a type of half the bits that
    a processor has, and is slower in.
    """
    if dtype == "tf32":
        if network.device.type != "cuda":
            warn("tf32: only graphics cards have it; computing in float32")
        return torch.float32
    kind = DTYPES[dtype]
    if computes_natively(network.device, kind):
        half = network.device.type == "cpu" and kind != torch.float32
        if half and not is_faster_than_float32(kind):
            warn(f"{dtype}: this processor is not clearly faster in it than in float32")
        return kind
    warn(f"{dtype}: this processor does not multiply it; computing in float32")
    return torch.float32


@dataclass(frozen=True)
class SampleRun:
    """What the layers of a network compute from the sample image.

    Attributes:
        outputs: index of a layer -> its output, (1, c, h, w) or (1, n); not of those that the
            network's outputs do not need.
        largest: for each layer, the largest magnitude of its weights, of its output and of what
            its modules return on the way, such as a convolution before the activation.
    """

    outputs: dict[int, Tensor]
    largest: list[float]


@torch.inference_mode()
def run_sample(network: Network, input_dtype: torch.dtype = torch.float32) -> SampleRun:
    """Run the sample image.

    Args:
        network: has values.
        input_dtype: the type of the images that it takes.
    """
    x = as_input(network, sample_image(network)).to(network.device, input_dtype)
    run = SampleRun({}, [_largest(layer.parameters()) for layer in network.layers])
    with ExitStack() as hooks:
        for index, layer in enumerate(network.layers):
            for module in layer.modules():
                hook = module.register_forward_hook(_noting(run, index, module is layer))
                hooks.callback(hook.remove)
        network.step(x)
    return run


def _noting(run: SampleRun, index: int, whole: bool) -> Callable[..., None]:
    """Return a hook that notes what a module of a layer returns; `whole`: the layer itself."""

    def note(_module: nn.Module, _inputs: Sequence[Any], output: Any) -> None:
        tensors = [output] if isinstance(output, Tensor) else list(output)
        run.largest[index] = max(run.largest[index], _largest(tensors))
        if whole:
            run.outputs[index] = tensors[0]  # the others are a recurrent layer's state

    return note


def _largest(tensors: Iterable[Tensor]) -> float:
    return max((float(each.detach().abs().max()) for each in tensors if each.numel()), default=0.0)


def layer_dtypes(folded: Network, dtype: torch.dtype, sample: SampleRun) -> list[torch.dtype]:
    """Return the type that each layer computes in.

    Args:
        folded: a network in float32 without batch norm and state.
        dtype: the requested type.
        sample: of this network.
    """
    if dtype == torch.bfloat16:
        return _of_long_sums(folded)
    limit = torch.finfo(dtype).max / ROOM
    outputs = sample.outputs
    reads = [_largest(outputs[i] for i in node.inputs if i in outputs) for node in folded.plan]
    pairs = zip(sample.largest, reads, strict=True)
    return [dtype if max(pair) <= limit else torch.float32 for pair in pairs]


def _of_long_sums(folded: Network) -> list[torch.dtype]:
    long = [_is_long(layer) for layer in folded.layers]
    flops = [
        node.layer.flops(*node.input_shapes) if isinstance(layer, ConvBlock) else 0
        for node, layer in zip(folded.plan, folded.layers, strict=True)
    ]
    if sum(n for n, each in zip(flops, long, strict=True) if each) >= MOSTLY_LONG * sum(flops):
        long = [-1 not in node.inputs for node in folded.plan]
    return [torch.bfloat16 if each else torch.float32 for each in long]


def _is_long(layer: nn.Module) -> bool:
    return isinstance(layer, ConvBlock) and layer.conv.weight[0].numel() >= LONG_SUM


def warn_if_rough(low: SampleRun, exact: SampleRun, plan: Plan, dtype: torch.dtype) -> None:
    """Emit a DarknetWarning if the outputs are far from those in float32.

    It names the first layer whose output is.

    Args:
        low: of the network in the type to judge.
        exact: of the same network in float32.
        plan: of both.
        dtype: for the message.
    """
    errors = {
        i: _difference(output, exact.outputs[i])
        for i, output in low.outputs.items()
        if output.shape == exact.outputs[i].shape  # a layer may be computed with the next one
    }
    if all(errors[index] <= ROUGH for index in plan.outputs if index in errors):
        return
    first, error = next((i, error) for i, error in errors.items() if not error <= ROUGH)
    loss = "values beyond its range" if math.isnan(error) else f"an error of {error:.0%}"
    warn(
        f"{type_name(dtype)}: layer {first} [{plan[first].layer.section.name}] has {loss} on the"
        " sample image; detections may be lost, float32 finds them"
    )


def _difference(y: Tensor, exact: Tensor) -> float:
    """Return the largest difference relative to the largest exact value; NaN if y overflows."""
    y = y.float()
    if not y.isfinite().all():
        return math.nan
    return float((y - exact).abs().max() / exact.abs().max().clamp_min(1e-12))
