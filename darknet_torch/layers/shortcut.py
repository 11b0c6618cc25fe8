"""[shortcut]: adds outputs of earlier layers to that of the layer before, as each fork does."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from darknet_torch.layers.activation import activate
from darknet_torch.layers.base import Function, Layer, Segment, Shape
from darknet_torch.layers.geometry import absolute_index
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB, PJREDDIE
from darknet_torch.parsing.options import Activation, option
from darknet_torch.parsing.parser import Section


@layer("shortcut", only=PJREDDIE)
class StridedShortcut(Layer):
    """[shortcut] of pjreddie: one source, whose map may be larger or smaller by a factor.

    The output has the shape of the layer before. It is alpha * before + beta * source where the
    source has a value, and the unchanged value of the layer before elsewhere.
    """

    source: int = option(0, key="from")
    activation: Activation = option(Activation("linear"))
    alpha: float = option(1.0)
    beta: float = option(1.0)

    def inputs(self, index: int) -> tuple[int, ...]:
        """Return the layer before and the source."""
        _check_sources(self.section)
        return (index - 1, absolute_index(self.source, index))

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the layer before."""
        before, source = (shape.map() for shape in inputs)
        _ratios(before, source)
        return before

    def fixed(self, *shapes: Shape) -> object:
        """Return whether the maps have one shape, and the ratio of their sizes."""
        return shapes[0] == shapes[1], _ratios(*shapes)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the sum of what both maps have."""
        return StridedSum(self, *shapes)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Add maps of one shape."""
        x, source = inputs
        plain = self.alpha == self.beta == 1.0
        total = x + source if plain else self.alpha * x + self.beta * source
        return activate(self.activation, total)


class StridedSum(Function):
    """Adds every `step`-th pixel of the source to every `repeat`-th pixel of the layer before."""

    def __init__(self, layer: StridedShortcut, before: Shape, source: Shape) -> None:
        super().__init__(layer)
        self.alpha, self.beta, self.activation = layer.alpha, layer.beta, layer.activation
        self.same_shape = before == source
        self.step, self.repeat = _ratios(before, source)
        self.channels = min(before.c, source.c)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the layer's output."""
        if self.same_shape:
            return super().forward(*inputs)
        x, source = inputs
        source = source[:, : self.channels, :: self.step, :: self.step]
        out = x.clone()
        target = out[:, : self.channels, :: self.repeat, :: self.repeat]
        height, width = (min(a, b) for a, b in zip(target.shape[2:], source.shape[2:], strict=True))
        target = target[:, :, :height, :width]
        target.copy_(self.alpha * target + self.beta * source[:, :, :height, :width])
        return activate(self.activation, out)


def _ratios(before: Shape, source: Shape) -> tuple[int, int]:
    """The strides in the source and in the layer before; one of them is 1."""
    step, repeat = source.w // before.w, before.w // source.w
    if (step, repeat) != (source.h // before.h, before.h // source.h):
        raise ValueError(f"{source} cannot be added to {before}: width and height differ in ratio")
    return max(step, 1), max(repeat, 1)


@layer("shortcut", only=ALEXEYAB)
class Shortcut(Layer):
    """[shortcut] of AlexeyAB: any number of sources of one size, with or without weights."""

    sources: tuple[int, ...] = option((), key="from")
    activation: Activation = option(Activation("linear"))
    weights_type: Literal["none", "per_feature", "per_layer", "per_channel"] = option("none")
    weights_normalization: Literal["none", "relu", "avg_relu", "softmax"] = option("none")

    def inputs(self, index: int) -> tuple[int, ...]:
        """Return the layer before and the sources."""
        _check_sources(self.section)
        return (index - 1, *(absolute_index(source, index) for source in self.sources))

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the layer before; ValueError if width or height differ."""
        if any(shape[1:] != inputs[0][1:] for shape in inputs):
            listed = ", ".join(str(shape) for shape in inputs[1:])
            raise ValueError(
                f"{listed} cannot be added to {inputs[0]}: width and height must be equal in"
                f" {self.dialect.name} (dialect pjreddie takes strided shortcuts)"
            )
        if self.weighted and self.weights_normalization == "none":
            raise ValueError("weights_type needs weights_normalization=relu or softmax")
        return inputs[0]

    @property
    def weighted(self) -> bool:
        """Whether each source has a weight."""
        return self.weights_type != "none"

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the (weighted) sum."""
        channels = tuple(shape.c for shape in shapes)
        if self.weighted:
            return WeightedSum(self, channels, self._columns(shapes))
        return Function(self) if len(set(channels)) == 1 else ChannelSum(self, channels)

    def _columns(self, shapes: tuple[Shape, ...]) -> int:
        return shapes[0].c if self.weights_type == "per_channel" else 1

    def weights(self, *shapes: Shape) -> Iterable[Segment]:
        """Yield a weight per source, or per source and channel; the layer before is the first."""
        if self.weighted:
            rows = len(shapes)
            yield Segment("shortcut_weights", "weight", (rows, self._columns(shapes)))

    def fold(self, module: nn.Module, *, as_detector: bool = False) -> dict[str, Tensor] | None:
        """As detector, clamp weights that relu normalises to at least .001, as AlexeyAB does."""
        relu = self.weights_normalization in ("relu", "avg_relu")
        if not (as_detector and relu and isinstance(module, WeightedSum)):
            return None
        return {"weight": module.weight.detach().clamp_min(0.001)}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Add maps of one shape."""
        total = inputs[0]
        for source in inputs[1:]:
            total = total + source
        return activate(self.activation, total)


class ChannelSum(Function):
    """Sum of maps of different channels: each is added to the first channels of the layer before.

    channels: of the layer before, then of the sources.
    """

    def __init__(self, layer: Shortcut, channels: tuple[int, ...]) -> None:
        super().__init__(layer)
        self.activation, self.channels = layer.activation, channels

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the layer's output."""
        total, available = inputs[0], self.channels[0]
        for x, channels in zip(inputs[1:], self.channels[1:], strict=True):
            shared = min(channels, available)
            total = _add_channels(total, x[:, :shared], shared, available)
        return activate(self.activation, total)


class WeightedSum(nn.Module):
    """Sum of the inputs times normalised weights; `weight` is (1 + sources, 1 or c)."""

    def __init__(self, layer: Shortcut, channels: tuple[int, ...], columns: int) -> None:
        super().__init__()
        self.layer, self.channels = layer, channels
        self.weight = nn.Parameter(torch.empty(len(channels), columns))

    def normalized(self) -> Tensor:
        """Return the normalised weights."""
        if self.layer.weights_normalization == "softmax":
            weight = (self.weight - self.weight.amax(dim=0)).exp()
        else:
            weight = self.weight.clamp_min(0)
        return weight / (weight.sum(dim=0) + 1e-4)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the layer's output."""
        weight = self.normalized()[:, None]
        weight = weight.reshape(*weight.shape, *[1] * (inputs[0].dim() - 2))
        available = self.channels[0]
        total = inputs[0] * weight[0]
        for x, factor, channels in zip(inputs[1:], weight[1:], self.channels[1:], strict=True):
            shared = min(channels, available)
            x = x[:, :shared] * factor[:, :shared]
            total = _add_channels(total, x, shared, available)
        return activate(self.layer.activation, total)


def _add_channels(total: Tensor, x: Tensor, shared: int, available: int) -> Tensor:
    """Add x (B, shared, ...) to the first channels of total (B, available, ...)."""
    if shared == available:
        return total + x
    return torch.cat((total[:, :shared] + x, total[:, shared:]), dim=1)


def _check_sources(section: Section) -> None:
    if section.get("from") is None:
        raise ValueError("from= is missing; it names the layer to add")
