"""What a layer type is: a frozen dataclass of its options with wiring, shape, sums and weights.

A new layer type is one class below one decorator, in any file that is imported:

    @layer("double")
    class Double(Layer):
        factor: float = option(2.0)

        def forward(self, *inputs: Tensor) -> Tensor:
            return self.factor * inputs[0]

Every method has a default that is right for somebody. Layers without parameters write `shape` and
`forward`; layers with parameters write `shape`, `build` and `weights`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from darknet_torch.layers.word_tree import Tree
from darknet_torch.parsing.dialect import ALEXEYAB, PJREDDIE, Dialect
from darknet_torch.parsing.options import option
from darknet_torch.parsing.parser import Section

__all__ = ["Function", "Layer", "Segment", "Shape", "absolute", "is_traced", "windows"]


class Shape(NamedTuple):
    """Shape of one picture's output: channels, height, width. A plain vector has h = w = 0.

    Maps are tensors (B, c, h, w), vectors are tensors (B, c).
    """

    c: int
    h: int = 0
    w: int = 0

    @property
    def size(self) -> int:
        """Number of values."""
        return self.c if self.is_vector else self.c * self.h * self.w

    @property
    def is_vector(self) -> bool:
        """Whether the values have no place in a picture."""
        return self.h == 0

    def __str__(self) -> str:
        return f"{self.c}" if self.is_vector else f"{self.w} x {self.h} x {self.c}"

    def map(self) -> "Shape":
        """Return itself; ValueError if it is no map of channels, height and width."""
        if self.is_vector:
            raise ValueError(f"needs a map of pixels before it, not a vector of {self.c} values")
        return self


@dataclass(frozen=True)
class Segment:
    """A run of floats in the weights file, and the parameter or buffer of the module it fills.

    kind: biases, scales, rolling_mean, rolling_variance, weights, shortcut_weights,
        implicit_weights.
    name: path of the tensor inside the layer's module, such as `conv.weight`.
    shape: of the floats as the module has them (the first rows, if the module has more).
    fan_in: how many inputs one output sums up; scales the random initial values.
    stored: False keeps the tensor at its initial value and takes nothing from the file.
    flipped: the file has the matrix (shape[0], rest) transposed.
    connected: transposed in files whose header says that connected matrices are.
    """

    kind: str
    name: str
    shape: tuple[int, ...]
    fan_in: int = 1
    stored: bool = True
    flipped: bool = False
    connected: bool = False

    @property
    def count(self) -> int:
        """Number of floats."""
        return math.prod(self.shape)

    def initial(self, shape: tuple[int, ...]) -> Tensor:
        """Return float32 start values; a variance that no file ever fills is 0, as in Darknet."""
        if self.kind in ("scales", "shortcut_weights"):
            return torch.ones(shape, device="cpu")
        if self.kind == "rolling_variance":
            return torch.full(shape, float(self.stored), device="cpu")
        if self.kind == "weights":
            return torch.randn(shape, device="cpu") * math.sqrt(2 / self.fan_in)
        if self.kind == "implicit_weights":
            return torch.randn(shape, device="cpu") * 0.2
        return torch.zeros(shape, device="cpu")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Base of all layer types; its fields are the options that every section understands.

    `shape` and `inputs` raise ValueError where the network cannot be; the plan adds file and line.
    """

    section: Section = field(repr=False, compare=False)
    dialect: Dialect = field(repr=False)

    dontload: bool = option(False)
    dontloadscales: bool = option(False)
    onlyforward: bool = option(False)
    stopbackward: bool = option(False)
    learning_rate: float = option(1.0)
    truth: bool = option(False, only=PJREDDIE)
    dontsave: bool = option(False, only=PJREDDIE)
    numload: int = option(0, only=PJREDDIE, check=lambda n: n >= 0, wanted="at least 0")
    smooth: float = option(0.0, only=PJREDDIE)
    clip: float = option(0.0, only=ALEXEYAB)
    dont_update: bool = option(False, only=ALEXEYAB)
    burnin_update: int = option(0, only=ALEXEYAB)
    train_only_bn: bool = option(False, only=ALEXEYAB)

    # facts, which code above the layers asks for in place of a type or a section's name
    is_result: ClassVar[bool] = True
    """Whether the output can be the network's result; that of a loss, such as [cost], cannot."""
    takes_smaller_images: ClassVar[bool] = True
    """Whether an image smaller than the cfg's can pass; a [crop] needs a whole one."""
    outputs_option: ClassVar[str | None] = None
    """The option with the number of outputs, if each output has its own row in all tensors."""

    @property
    def weight_groups(self) -> int:
        """Number of groups of channels that have weights of their own."""
        return 1

    @property
    def word_tree(self) -> Tree | None:
        """The word tree that the output's classes are nodes of, if any; read from its file."""
        return None

    @property
    def class_file(self) -> str | None:
        """What kind of file fixes the output's classes: "word tree" or "class map", if any does."""
        return None

    def inputs(self, index: int) -> tuple[int, ...]:
        """Return the indices of the layers that feed the layer at `index`; -1 is the image."""
        return (index - 1,)

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the output; ValueError if the inputs do not fit."""
        return inputs[0]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the output of a layer without parameters."""
        return inputs[0]

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the module. It is built on the meta device: only constants own memory."""
        return Function(self)

    def weights(self, *shapes: Shape) -> Iterable[Segment]:
        """Yield the module's tensors in file order: reading, writing and size check in one."""
        return ()

    def state(self, *shapes: Shape) -> tuple[Shape, ...]:
        """Return the shapes of what the layer remembers from one call to the next.

        The module of a layer with state takes the state's tensors behind its input and returns
        them, renewed, behind its output. They start at zero.
        """
        return ()

    def shares(self, index: int) -> int | None:
        """Return the earlier layer whose tensors this one uses, so that it has none of its own.

        Both must be of one type and have tensors of the same names and shapes.
        """
        return None

    def tie(self, module: nn.Module, source: nn.Module) -> None:
        """Let the module use the tensors of the layer that `shares` names."""

    def fold(self, module: nn.Module, *, as_detector: bool = False) -> dict[str, Tensor] | None:
        """Return the module's tensors with batch norm in its weights; None if it has none to fold.

        The layer then is as without `batch_normalize`. as_detector: see `fold.fold`.
        """
        return None

    def fixed(self, *shapes: Shape) -> object:
        """Return what `build` decided by the shapes; another size of input must give the same."""
        return None

    def adapt(self, readers: frozenset[str]) -> "Layer":
        """Return the layer as it is once the sections that read its output are known."""
        return self

    def flops(self, *shapes: Shape) -> int:
        """Return floating point operations for one picture, as Darknet counts them."""
        return 0


class Function(nn.Module):
    """The module of a layer without parameters."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the layer's output from (B, c, h, w) or (B, n) tensors."""
        return self.layer.forward(*inputs)

    def extra_repr(self) -> str:
        """Show the layer's options."""
        return repr(self.layer)


def windows(size: int, window: int, stride: int) -> int:
    """Return how many windows fit along a side, `stride` apart; ValueError if not even one."""
    if window > size:
        raise ValueError(f"a window of {window} does not fit into {size} pixels, padding included")
    return (size - window) // stride + 1


def absolute(number: int, index: int) -> int:
    """Return the layer that `number` means in the section at `index`: relative if negative."""
    source = index + number if number < 0 else number
    if not 0 <= source < index:
        raise ValueError(f"layer {number} is not one of the {index} layers before it")
    return source


def is_traced(x: object) -> bool:
    """Say whether a compiler or tracer looks on: shapes are symbols then, not to be compared."""
    watched = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    return watched or isinstance(x, torch.fx.Proxy)
