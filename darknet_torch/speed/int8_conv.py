"""Convolutions by oneDNN in 8 bits: whole numbers are multiplied, sums and outputs are float32.

Only the products are in 8 bits, which is where the time goes. Maps between layers stay float32, so
that every other layer is as it was, and a compiler fuses the rounding into what is before it.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from darknet_torch.speed.onednn import PackedConv, is_supported
from darknet_torch.speed.trials import SIDE, is_clearly_faster

__all__ = ["INT8_FUSED", "Int8Conv", "Quantization", "is_exact", "multiplies_int8"]

OPERATORS = ("qconv_pointwise", "qconv_prepack")
"""oneDNN's operators in 8 bits, which have no public names. Without, nothing is in 8 bits."""
INT8_FUSED: dict[str, tuple[str, list[float]]] = {"relu": ("relu", [])}
"""Activations that oneDNN fuses into a convolution in 8 bits: its names, and their arguments."""
LARGEST_INPUT, LARGEST_WEIGHT = 255, 127
"""An input is 0 to 255, a weight -127 to 127."""
SMALLEST_RANGE = 1e-30
"""Of values that differ by less all are taken for 0: their scale would be none of float32's."""


class Quantization(NamedTuple):
    """How a map is rounded to 8 bits: a value x is round(x / scale) + zero_point, in 0..255."""

    scale: float
    zero_point: int

    @classmethod
    def of(cls, low: float, high: float) -> "Quantization":
        """Return the one for values from `low` to `high`; 0 is exact in it, as padding is 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / LARGEST_INPUT if high - low > SMALLEST_RANGE else 1.0
        return cls(scale, round(-low / scale))


class Int8Conv(PackedConv):
    """A convolution in 8 bits: (B, c, h, w) float32 -> (B, filters, h', w') float32.

    Each filter has a scale of its own.

    Args:
        weight: (filters, c / groups, kh, kw) float32.
        bias: (filters,) or None.
        shape: see `PackedConv`.
        quantization: of the input.
        options: of `PackedConv`; only the activations of INT8_FUSED.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        shape: Sequence[int],
        *,
        quantization: Quantization,
        **options: Any,
    ) -> None:
        weight = weight.detach()
        largest = weight.abs().amax((1, 2, 3)).clamp_min(torch.finfo(torch.float32).tiny)
        self.scales = largest / LARGEST_WEIGHT
        self.zeros = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
        self.quantization = quantization
        self.rounded = (weight / self.scales[:, None, None, None]).round().to(torch.int8)
        super().__init__(self.rounded, bias, shape, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle it with plain weights; packed ones are memory of oneDNN."""
        make, (_, bias, shape) = super().__reduce__()
        weight = self.rounded * self.scales[:, None, None, None]
        options = {**make.keywords, "quantization": self.quantization}
        return partial(Int8Conv, **options), (weight, bias, shape)

    def prepared(self, x: Tensor) -> Tensor:
        """Return the input rounded to 8 bits."""
        scale, zero = self.quantization
        y = (x.float() * (1 / scale)).add_(zero + 0.5).clamp_(0, LARGEST_INPUT)
        return y.to(torch.uint8)  # which cuts off, after the half

    def _dense(self) -> Tensor:
        return self.rounded

    def _reordered(self, dense: Tensor, shape: list[int]) -> Tensor:
        padding, stride, dilation, groups = self.arguments
        scale, zero = self.quantization
        y = torch.ops.onednn.qconv_prepack(
            dense, self.scales, scale, zero, stride, padding, dilation, groups, shape
        )
        return cast(Tensor, y)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        padding, stride, dilation, groups = self.arguments
        y = torch.ops.onednn.qconv_pointwise(
            *(x, *self.quantization, weight, self.scales, self.zeros, self.bias),
            *(stride, padding, dilation, groups, *self._output()),
        )
        return cast(Tensor, y)

    def _output(self) -> tuple[Any, ...]:
        """Return oneDNN's arguments for a float32 output: scale, zero point, type, activation."""
        return 1.0, 0, torch.float32, *INT8_FUSED.get(self.activation, ("none", [])), ""

    def lower(self, mkldnn: Any, x: Any, weight: Any, constant: Callable[..., Any]) -> Any:
        """Return the convolution as Inductor's node, see `PackedConv.lower`."""
        padding, stride, dilation, groups = self.arguments
        scale, zero = self.quantization
        constants = (
            constant("scale", torch.tensor(scale, device="cpu")),
            constant("zero", torch.tensor(zero, dtype=torch.int32, device="cpu")),
            weight,
            *(constant(name, getattr(self, name)) for name in ("scales", "zeros", "bias")),
        )
        return mkldnn.QConvPointWisePT2E.create(
            x, *constants, stride, padding, dilation, groups, *self._output()
        )

    def empty_output(self, x: Tensor) -> Tensor:
        """Return an uninitialised output for the input x."""
        return super().empty_output(x).float()


@cache
def multiplies_int8(device: torch.device) -> bool:
    """Return whether a device multiplies 8 bits exactly and clearly faster: it is tried."""
    if not is_exact(device):
        return False
    x, convs = _largest(3)
    float32, int8 = (partial(conv.convolve, conv.prepared(x)) for conv in convs)
    return is_clearly_faster(int8, float32)


@torch.inference_mode()
def is_exact(device: torch.device) -> bool:
    """Return whether oneDNN multiplies 8 bits on a device without error.

    On processors without VNNI or AMX it adds two products in 16 bits, where the largest do not fit.
    """
    operators = all(hasattr(torch.ops.onednn, name) for name in OPERATORS)
    if not operators or not is_supported(device, torch.float32):
        return False
    x, convs = _largest(1)
    float32, int8 = (conv(x) for conv in convs)
    return torch.allclose(float32, int8)


def _largest(size: int) -> tuple[Tensor, tuple[PackedConv, Int8Conv]]:
    """Return a map and convolutions of the largest products, in float32 and in 8 bits."""
    weight = torch.ones(128, 128, size, size, device="cpu")
    x = torch.ones(1, 128, SIDE, SIDE, device="cpu").contiguous(memory_format=torch.channels_last)
    int8 = Int8Conv(weight, None, x.shape, quantization=Quantization.of(0, 1))
    return x, (PackedConv(weight, None, x.shape), int8)
