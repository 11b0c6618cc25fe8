"""[convolutional]: convolution, batch norm or biases, activation; also binary and antialiased.

Options that act only in Darknet's training (`sway`, `rotate`, `grad_centr` ...) are accepted and
kept; training warns of them.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn

from darknet_torch.layers.base import Layer, Segment, Shape
from darknet_torch.layers.blocks import Blur, ConvBlock, conv_segments, fold_norm
from darknet_torch.layers.geometry import absolute_index, window_count
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import Activation, option

NEEDS_ACTIVATION = {"route", "shortcut", "scale_channels", "sam"}
"""Sections that read the values of a `bin_output` layer, not only their signs."""
DEFORMATIONS = ("sway", "rotate", "stretch", "stretch_sway")
"""Options that transform the kernels in training."""


@layer("convolutional", "conv")
class Convolutional(Layer):
    """[convolutional]: cross-correlation (B, c, h, w) -> (B, filters, h', w')."""

    outputs_option: ClassVar[str | None] = "filters"
    clips_weights: ClassVar[bool] = True
    unheeded: ClassVar[tuple[str, ...]] = (
        *DEFORMATIONS,
        "grad_centr",
        "reverse",
        "coordconv",
        "assisted_excitation",
    )

    filters: int = option(1, check=lambda n: n > 0, expected="at least 1")
    size: int = option(1, check=lambda n: n > 0, expected="at least 1")
    stride: int = option(1, check=lambda n: n > 0, expected="at least 1")
    stride_x: int = option(lambda o: o.stride, only=ALEXEYAB)
    stride_y: int = option(lambda o: o.stride, only=ALEXEYAB)
    pad: bool = option(False)
    padding: int = option(0, check=lambda n: n >= 0, expected="at least 0")
    dilation: int = option(1, only=ALEXEYAB, check=lambda n: n > 0, expected="at least 1")
    groups: int = option(1, check=lambda n: n > 0, expected="at least 1")
    batch_normalize: bool = option(False)
    cbn: bool = option(False, only=ALEXEYAB)
    activation: Activation = option(Activation("logistic"))
    xnor: bool = option(False)
    binary: bool = option(False)
    bin_output: bool = option(False, only=ALEXEYAB)
    flipped: bool = option(False)
    antialiasing: int = option(0, only=ALEXEYAB)
    share_index: int | None = option(None, only=ALEXEYAB)

    # training, or kept without effect on the CPU
    dot: int = option(0)
    sway: bool = option(False, only=ALEXEYAB)
    rotate: bool = option(False, only=ALEXEYAB)
    stretch: bool = option(False, only=ALEXEYAB)
    stretch_sway: bool = option(False, only=ALEXEYAB)
    angle: float = option(15.0, only=ALEXEYAB)
    grad_centr: bool = option(False, only=ALEXEYAB)
    reverse: float = option(0.0, only=ALEXEYAB)
    coordconv: int = option(0, only=ALEXEYAB)
    assisted_excitation: float = option(0.0, only=ALEXEYAB)
    stream: int = option(-1, only=ALEXEYAB)
    wait_stream: int = option(-1, only=ALEXEYAB)

    @property
    def strides(self) -> tuple[int, int]:
        """Strides (vertical, horizontal); `stride` where the option is below 1."""
        y, x = self.stride_y, self.stride_x
        return (y if y > 0 else self.stride, x if x > 0 else self.stride)

    @property
    def used_padding(self) -> int:
        """Padding on each side in pixels, before dilation."""
        return self.size // 2 if self.pad else self.padding

    @property
    def used_dilation(self) -> int:
        """Dilation; a kernel of one pixel has none."""
        return self.dilation if self.size > 1 else 1

    @property
    def weight_groups(self) -> int:
        """Groups; AlexeyAB's binary convolutions have none."""
        return 1 if self.xnor and self.dialect.knows(ALEXEYAB) else self.groups

    @property
    def normalized(self) -> bool:
        """Whether batch norm follows; cross-iteration batch norm is the same at inference."""
        return self.batch_normalize or self.cbn

    def shape(self, *inputs: Shape) -> Shape:
        """Return (filters, h', w'); ValueError if groups, dilation or size do not fit."""
        c, h, w = inputs[0].map()
        for what, count in (("channels before it", c), ("filters", self.filters)):
            if count % self.weight_groups:
                raise ValueError(f"{self.weight_groups} groups do not divide the {count} {what}")
        self._check_deformations()
        if self.used_dilation > 1 and 2 * self.used_padding != self.size - 1:
            raise ValueError(
                f"dilation={self.dilation} needs a padding of {(self.size - 1) / 2:g}, half the"
                f" kernel, not {self.used_padding}"
            )
        size = self._convolved_size(h, w)
        if self.antialiasing:
            size = Blur.shape(self.antialiasing, *size, *self.strides)
        return Shape(self.filters, *size)

    def _check_deformations(self) -> None:
        """Refuse what Darknet refuses, though these options act in training only."""
        enabled = [name for name in DEFORMATIONS if getattr(self, name)]
        if len(enabled) > 1:
            raise ValueError(f"{' and '.join(enabled)}: only one of them can be")
        if enabled and self.size == 1:
            raise ValueError(f"{enabled[0]}=1 needs a size of more than 1")

    def _convolved_size(self, h: int, w: int) -> tuple[int, int]:
        """Height and width of the convolution's output, before any blur."""
        h, w = h + 2 * self.used_padding, w + 2 * self.used_padding
        stride_y, stride_x = (1, 1) if self.antialiasing else self.strides
        return window_count(h, self.size, stride_y), window_count(w, self.size, stride_x)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the convolution with its parameters."""
        return Convolution(self, shapes[0].c)

    def weights(self, *shapes: Shape) -> Iterable[Segment]:
        """Yield biases, batch norm, weights[n][c / groups][k][k]."""
        yield from conv_segments(
            shapes[0].c // self.weight_groups,
            min(self.numload or self.filters, self.filters),
            self.size,
            self.normalized,
            flipped=self.flipped,
            scales_stored=not self.dontloadscales,
        )

    def fold(self, module: nn.Module, *, as_detector: bool = False) -> dict[str, Tensor] | None:
        """Fold batch norm into the convolution, unless it is binary: there only signs count."""
        if not isinstance(module, Convolution) or module.bn is None or self.xnor:
            return None
        weight, bias = fold_norm(module.conv, module.bn)
        return {"conv.weight": weight, "conv.bias": bias}

    def shares(self, index: int) -> int | None:
        """Return the layer that `share_index` names."""
        return None if self.share_index is None else absolute_index(self.share_index, index)

    def tie(self, module: nn.Module, source: nn.Module) -> None:
        """Share weights, biases and batch norm of another convolution."""
        if isinstance(module, Convolution) and isinstance(source, Convolution):
            module.conv.weight, module.conv.bias = source.conv.weight, source.conv.bias
            module.bn = source.bn

    def adapt(self, readers: frozenset[str]) -> "Convolutional":
        """Drop the activation of a `bin_output` layer of which only the signs are read."""
        if self.xnor and self.bin_output and not readers & NEEDS_ACTIVATION:
            return replace(self, activation=Activation("linear"))
        return self

    def flops(self, *shapes: Shape) -> int:
        """Two operations for each weight and output pixel."""
        c, h, w = shapes[0]
        out_h, out_w = self._convolved_size(h, w)
        return 2 * self.filters * self.size**2 * c // self.weight_groups * out_h * out_w


class Convolution(ConvBlock):
    """Convolution, batch norm, activation, blur: (B, c, h, w) -> (B, filters, h', w')."""

    def __init__(self, layer: Convolutional, channels: int) -> None:
        super().__init__(
            channels,
            layer.filters,
            layer.size,
            dialect=layer.dialect,
            activation=layer.activation,
            strides=(1, 1) if layer.antialiasing else layer.strides,
            padding=layer.used_padding,
            dilation=layer.used_dilation,
            groups=layer.weight_groups,
            normalized=layer.normalized,
            xnor=layer.xnor,
        )
        self.blur = Blur(layer.antialiasing, layer.strides) if layer.antialiasing else None

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer's output."""
        x = super().forward(x)
        return x if self.blur is None else self.blur(x)
