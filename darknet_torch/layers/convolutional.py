"""[convolutional]: product, batch norm or biases, activation; and the binary and blurred variants.

Keys that act only while Darknet trains (`sway`, `rotate`, `grad_centr` ...) are accepted and kept.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn

from darknet_torch.layers.base import Layer, Segment, Shape, absolute, windows
from darknet_torch.layers.blocks import Blur, ConvBlock, conv_segments, fold_norm
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import Activation, option

NEEDS_ACTIVATION = {"route", "shortcut", "scale_channels", "sam"}


@layer("convolutional", "conv")
class Convolutional(Layer):
    """[convolutional]: cross-correlation (B, c, h, w) -> (B, filters, h', w')."""

    outputs_option: ClassVar[str | None] = "filters"

    filters: int = option(1, check=lambda n: n > 0, wanted="at least 1")
    size: int = option(1, check=lambda n: n > 0, wanted="at least 1")
    stride: int = option(1, check=lambda n: n > 0, wanted="at least 1")
    stride_x: int = option(lambda o: o.stride, only=ALEXEYAB)
    stride_y: int = option(lambda o: o.stride, only=ALEXEYAB)
    pad: bool = option(False)
    padding: int = option(0, check=lambda n: n >= 0, wanted="at least 0")
    dilation: int = option(1, only=ALEXEYAB, check=lambda n: n > 0, wanted="at least 1")
    groups: int = option(1, check=lambda n: n > 0, wanted="at least 1")
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
        """Strides (vertical, horizontal); below 1 they mean `stride`."""
        y, x = self.stride_y, self.stride_x
        return (y if y > 0 else self.stride, x if x > 0 else self.stride)

    @property
    def used_padding(self) -> int:
        """Zeros on each side, before dilation."""
        return self.size // 2 if self.pad else self.padding

    @property
    def used_dilation(self) -> int:
        """A kernel of one pixel cannot be dilated."""
        return self.dilation if self.size > 1 else 1

    @property
    def weight_groups(self) -> int:
        """AlexeyAB's binary convolutions have no groups."""
        return 1 if self.xnor and self.dialect.knows(ALEXEYAB) else self.groups

    @property
    def normalized(self) -> bool:
        """Whether batch norm follows; cross-iteration batch norm is the same at inference."""
        return self.batch_normalize or self.cbn

    def shape(self, *inputs: Shape) -> Shape:
        """Return the output's shape; ValueError if groups, dilation or size do not fit."""
        c, h, w = inputs[0].map()
        for what, count in (("channels before it", c), ("filters", self.filters)):
            if count % self.weight_groups:
                raise ValueError(f"{self.weight_groups} groups do not divide the {count} {what}")
        self._must_deform_sanely()
        if self.used_dilation > 1 and 2 * self.used_padding != self.size - 1:
            raise ValueError(
                f"dilation={self.dilation} needs a padding of {(self.size - 1) / 2:g}, half the"
                f" kernel, not {self.used_padding}"
            )
        blurred = self._product_shape(h, w)
        if self.antialiasing:
            blurred = Blur.shape(self.antialiasing, *blurred, *self.strides)
        return Shape(self.filters, *blurred)

    def _must_deform_sanely(self) -> None:
        """Refuse what Darknet refuses, though all this acts in training only."""
        ways = ("sway", "rotate", "stretch", "stretch_sway")
        asked = [way for way in ways if getattr(self, way)]
        if len(asked) > 1:
            raise ValueError(f"{' and '.join(asked)}: only one of them can be")
        if asked and self.size == 1:
            raise ValueError(f"{asked[0]}=1 needs a size of more than 1")

    def _product_shape(self, h: int, w: int) -> tuple[int, int]:
        stride_y, stride_x = (1, 1) if self.antialiasing else self.strides
        grow = 2 * self.used_padding
        return windows(h + grow, self.size, stride_y), windows(w + grow, self.size, stride_x)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the convolution with its parameters."""
        return Convolution(self, shapes[0].c)

    def weights(self, *shapes: Shape) -> Iterable[Segment]:
        """Biases, batch norm, weights[n][c / groups][k][k]."""
        yield from conv_segments(
            shapes[0].c // self.weight_groups,
            min(self.numload or self.filters, self.filters),
            self.size,
            self.normalized,
            flipped=self.flipped,
            scales_stored=not self.dontloadscales,
        )

    def fold(self, module: nn.Module, *, as_detector: bool = False) -> dict[str, Tensor] | None:
        """Fold batch norm into the product; not where signs of its weights are what counts."""
        if not isinstance(module, Convolution) or module.bn is None or self.xnor:
            return None
        weight, bias = fold_norm(module.conv, module.bn)
        return {"conv.weight": weight, "conv.bias": bias}

    def shares(self, index: int) -> int | None:
        """Return the layer that `share_index` names."""
        return None if self.share_index is None else absolute(self.share_index, index)

    def tie(self, module: nn.Module, source: nn.Module) -> None:
        """Take weights, biases and batch norm of another convolution."""
        if isinstance(module, Convolution) and isinstance(source, Convolution):
            module.conv.weight, module.conv.bias = source.conv.weight, source.conv.bias
            module.bn = source.bn

    def adapt(self, readers: frozenset[str]) -> "Convolutional":
        """Drop the activation of a `bin_output` layer whose readers take its signs only."""
        if self.xnor and self.bin_output and not readers & NEEDS_ACTIVATION:
            return replace(self, activation=Activation("linear"))
        return self

    def flops(self, *shapes: Shape) -> int:
        """Two operations for each weight and output pixel."""
        c, h, w = shapes[0]
        out_h, out_w = self._product_shape(h, w)
        return 2 * self.filters * self.size**2 * c // self.weight_groups * out_h * out_w


class Convolution(ConvBlock):
    """conv, bn (or None), activation, blur: (B, c, h, w) -> (B, filters, h', w')."""

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
