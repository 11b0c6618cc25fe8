"""[crnn], [conv_lstm]: recurrent layers of convolutions."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from darknet_torch.layers.base import Layer, Segment, Shape
from darknet_torch.layers.blocks import ConvBlock, conv_segments
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB, PJREDDIE
from darknet_torch.parsing.options import Activation, option


@dataclass(frozen=True, kw_only=True)
class ConvRecurrent(Layer, ABC):
    """A layer made of convolutions that keep height and width.

    `convolutions` yields their names in file order, with their input and output channels.
    """

    untrained: ClassVar[str | None] = "each image is trained by itself, from a state of zeros"

    batch_normalize: bool = option(False)
    activation: Activation = option(Activation("logistic"))
    size: int = option(3, only=ALEXEYAB, check=lambda n: n > 0, expected="at least 1")
    stride: int = option(1, only=ALEXEYAB, check=lambda n: n == 1, expected="1")
    dilation: int = option(1, only=ALEXEYAB, check=lambda n: n > 0, expected="at least 1")
    pad: bool = option(False, only=ALEXEYAB, absent=True)
    padding: int = option(0, only=ALEXEYAB, check=lambda n: n >= 0, expected="at least 0")
    groups: int = option(1, only=ALEXEYAB, check=lambda n: n > 0, expected="at least 1")
    xnor: bool = option(False, only=ALEXEYAB)

    @abstractmethod
    def convolutions(self, channels: int) -> Iterable[tuple[str, int, int]]:
        """Yield (name, input channels, output channels) in file order."""

    @property
    def used_groups(self) -> int:
        """Groups; binary convolutions have none."""
        return 1 if self.xnor else self.groups

    @property
    def used_padding(self) -> int:
        """Padding on each side in pixels, before dilation."""
        return self.size // 2 if self.pad else self.padding

    def check_size(self, shape: Shape) -> None:
        """Raise ValueError if a convolution changes height and width, or groups do not divide."""
        if self.size != 2 * self.used_padding + 1:
            raise ValueError(
                f"size={self.size} needs a padding of {(self.size - 1) / 2:g}, so that state and"
                f" input keep one size, not {self.used_padding}"
            )
        for name, inputs, outputs in self.convolutions(shape.map().c):
            if inputs % self.used_groups or outputs % self.used_groups:
                raise ValueError(f"{self.groups} groups do not divide {inputs}, {outputs} ({name})")

    def weights(self, *shapes: Shape) -> Iterable[Segment]:
        """Yield each convolution's segments, in the order of a [convolutional] layer."""
        for name, inputs, outputs in self.convolutions(shapes[0].c):
            yield from conv_segments(
                inputs // self.used_groups, outputs, self.size, self.batch_normalize, f"{name}."
            )

    def flops(self, *shapes: Shape) -> int:
        """Two operations for each weight and pixel."""
        c, h, w = shapes[0]
        pairs = sum(a * b // self.used_groups for _, a, b in self.convolutions(c))
        return 2 * pairs * self.size**2 * h * w

    def blocks(self, channels: int) -> nn.ModuleDict:
        """Return the modules of the convolutions, by name."""
        return nn.ModuleDict(
            {
                name: self._block(inputs, outputs)
                for name, inputs, outputs in self.convolutions(channels)
            }
        )

    def _block(self, inputs: int, outputs: int) -> ConvBlock:
        return ConvBlock(
            inputs,
            outputs,
            self.size,
            dialect=self.dialect,
            activation=self.activation,
            padding=self.used_padding,
            dilation=self.dilation if self.size > 1 else 1,
            groups=self.used_groups,
            normalized=self.batch_normalize,
            xnor=self.xnor,
        )


@dataclass(frozen=True, kw_only=True)
class ConvElman(ConvRecurrent):
    """s' = act(input x) + act(self s) (+ s with `shortcut`); output = act(output s')."""

    shortcut: bool = option(False)

    @property
    @abstractmethod
    def channels(self) -> tuple[int, int]:
        """Channels of state and output."""

    def convolutions(self, channels: int) -> Iterable[tuple[str, int, int]]:
        """Yield the convolutions of input, state and output."""
        hidden, output = self.channels
        yield "input_layer", channels, hidden
        yield "self_layer", hidden, hidden
        yield "output_layer", hidden, output

    def shape(self, *inputs: Shape) -> Shape:
        """Return (output channels, h, w)."""
        self.check_size(inputs[0])
        return Shape(self.channels[1], *inputs[0][1:])

    def state(self, *shapes: Shape) -> tuple[Shape, ...]:
        """Return the hidden map's shape."""
        return (Shape(self.channels[0], *shapes[0][1:]),)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the cell."""
        return ConvElmanCell(self, shapes[0].c)


@layer("crnn", only=PJREDDIE)
class Crnn(ConvElman):
    """[crnn] of pjreddie: 3 x 3 convolutions, (B, c, h, w) -> (B, output_filters, h, w)."""

    output_filters: int = option(1, check=lambda n: n > 0, expected="at least 1")
    hidden_filters: int = option(1, check=lambda n: n > 0, expected="at least 1")

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of state and output."""
        return self.hidden_filters, self.output_filters


@layer("crnn", only=ALEXEYAB)
class CrnnAlexey(ConvElman):
    """[crnn] of AlexeyAB: (B, c, h, w) -> (B, output, h, w)."""

    output: int = option(1, check=lambda n: n > 0, expected="at least 1")
    hidden: int = option(1, check=lambda n: n > 0, expected="at least 1")

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of state and output."""
        return self.hidden, self.output


class ConvElmanCell(nn.Module):
    """(B, c, h, w), (B, hidden, h, w) -> (B, output, h, w), (B, hidden, h, w)."""

    def __init__(self, layer: ConvElman, channels: int) -> None:
        super().__init__()
        self.shortcut = layer.shortcut
        for name, block in layer.blocks(channels).items():
            self.add_module(name, block)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one time step."""
        new: Tensor = self.get_submodule("input_layer")(x) + self.get_submodule("self_layer")(state)
        if self.shortcut:
            new = new + state
        return self.get_submodule("output_layer")(new), new


@layer("conv_lstm", only=ALEXEYAB)
class ConvLstm(ConvRecurrent):
    """[conv_lstm]: (B, c, h, w) -> (B, output, h, w); with `peephole` the gates read the cell."""

    activation: Activation = option(Activation("linear"))
    output: int = option(1, check=lambda n: n > 0, expected="at least 1")
    peephole: bool = option(False)
    bottleneck: bool = option(False)
    shortcut: bool = option(False)
    lstm_activation: Activation = option(Activation("tanh"))
    state_constrain: float = option(32.0)
    time_normalizer: float = option(1.0)

    def convolutions(self, channels: int) -> Iterable[tuple[str, int, int]]:
        """Yield the convolutions of the cell (v), of the last output (w), of the input (u)."""
        for name in ("vf", "vi", "vo") if self.peephole else ():
            yield name, self.output, self.output
        for name in ("wf", "wi", "wg", "wo"):
            yield name, self.output, self.output
        for name in ("uf", "ui", "ug", "uo"):
            yield name, channels, self.output

    def shape(self, *inputs: Shape) -> Shape:
        """Return (output, h, w); ValueError for options that Darknet has on GPUs only."""
        if self.bottleneck or self.shortcut:
            raise ValueError("bottleneck=1 and shortcut=1 exist in Darknet's GPU code only")
        self.check_size(inputs[0])
        return Shape(self.output, *inputs[0][1:])

    def state(self, *shapes: Shape) -> tuple[Shape, ...]:
        """Return the shapes of output and cell."""
        shape = Shape(self.output, *shapes[0][1:])
        return (shape, shape)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the cell."""
        return ConvLstmCell(self, shapes[0].c)


class ConvLstmCell(nn.Module):
    """(B, c, h, w), output, cell -> output, output, cell, each (B, output, h, w)."""

    def __init__(self, layer: ConvLstm, channels: int) -> None:
        super().__init__()
        self.peephole, self.limit = layer.peephole, layer.state_constrain
        for name, block in layer.blocks(channels).items():
            self.add_module(name, block)

    def forward(self, x: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute one time step; the cell is clipped after its use."""
        f = torch.sigmoid(self._gate("f", x, state, cell))
        i = torch.sigmoid(self._gate("i", x, state, cell))
        g = torch.tanh(self._gate("g", x, state, None))
        cell = f * cell + i * g
        new = torch.sigmoid(self._gate("o", x, state, cell)) * torch.tanh(cell)
        return new, new, cell.clamp(-self.limit, self.limit)

    def _gate(self, letter: str, x: Tensor, state: Tensor, cell: Tensor | None) -> Tensor:
        total: Tensor = self.get_submodule(f"w{letter}")(state)
        total = total + self.get_submodule(f"u{letter}")(x)
        if self.peephole and cell is not None:
            total = total + self.get_submodule(f"v{letter}")(cell)
        return total
