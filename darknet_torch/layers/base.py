"""The base class of layer types: options, wiring, output shape, computation and weights.

A new layer type is one class below one decorator, in any file that is imported:

    @layer("double")
    class Double(Layer):
        factor: float = option(2.0)

        def forward(self, *inputs: Tensor) -> Tensor:
            return self.factor * inputs[0]

A layer type is a frozen dataclass whose fields are its cfg options. Every method has a default:
layers without parameters override `shape` and `forward`, layers with parameters override `shape`,
`build` and `weights`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from darknet_torch.layers.truth import Loss, LossContext, Masks, Truth
from darknet_torch.layers.word_tree import Tree
from darknet_torch.parsing.dialect import ALEXEYAB, PJREDDIE, Dialect
from darknet_torch.parsing.options import option
from darknet_torch.parsing.parser import Section

__all__ = ["Function", "Layer", "Segment", "Shape"]


class Shape(NamedTuple):
    """Shape of a layer's output for one image: channels, height, width; h = w = 0 for a vector.

    Feature maps are tensors (B, c, h, w), vectors are tensors (B, c).
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
        """Whether it is a vector: values without a position in the image."""
        return self.h == 0

    def __str__(self) -> str:
        return f"{self.c}" if self.is_vector else f"{self.w} x {self.h} x {self.c}"

    def map(self) -> "Shape":
        """Return the shape itself if it is one of a feature map.

        Raises:
            ValueError: it is a vector.
        """
        if self.is_vector:
            raise ValueError(f"needs a map of pixels before it, not a vector of {self.c} values")
        return self


@dataclass(frozen=True)
class Segment:
    """A run of floats in the weights file, and the parameter or buffer of the module it fills.

    Attributes:
        kind: biases, scales, rolling_mean, rolling_variance, weights, shortcut_weights or
            implicit_weights.
        name: path of the tensor inside the layer's module, such as `conv.weight`.
        shape: shape of the tensor in the module (its first rows, if the module has more).
        fan_in: number of inputs that one output is computed from; scales the random initial
            values.
        stored: False keeps the tensor at its initial value; the file has no floats for it.
        flipped: the file has the matrix (shape[0], rest) transposed.
        connected: the file has it transposed if its version is one that transposes the matrices
            of connected layers.
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
        """Return float32 initial values; a variance that no file ever fills is 0, as in Darknet."""
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
    """Base class of all layer types; its fields are the options that every section has.

    `shape` and `inputs` raise ValueError where the network is impossible; the plan adds file and
    line. In all methods `shapes` are the shapes of the inputs, in the order of `inputs`.
    """

    section: Section = field(repr=False, compare=False)
    dialect: Dialect = field(repr=False)

    dontload: bool = option(False)
    dontloadscales: bool = option(False)
    onlyforward: bool = option(False)
    stopbackward: int = option(0)
    learning_rate: float = option(1.0)
    truth: bool = option(False, only=PJREDDIE)
    dontsave: bool = option(False, only=PJREDDIE)
    numload: int = option(0, only=PJREDDIE, check=lambda n: n >= 0, expected="at least 0")
    smooth: float = option(0.0, only=PJREDDIE)
    clip: float = option(0.0, only=ALEXEYAB)
    dont_update: int = option(0, only=ALEXEYAB)
    burnin_update: int = option(0, only=ALEXEYAB)
    train_only_bn: bool = option(False, only=ALEXEYAB)

    # facts, which code behind the layers asks for in place of a class or a section's name
    is_result: ClassVar[bool] = True
    """Whether the output can be the network's; that of a loss, such as [cost], cannot."""
    takes_smaller_images: ClassVar[bool] = True
    """Whether images smaller than the cfg's can pass; a [crop] needs whole ones."""
    passes_gradient: ClassVar[bool] = False
    """Whether training hands the gradient of the output on to the input as it is."""
    multiplies_outputs: ClassVar[bool] = False
    """Whether it multiplies the outputs of two layers."""
    untrained: ClassVar[str | None] = None
    """What does not learn here although it does in Darknet; None for nothing."""
    unheeded: ClassVar[tuple[str, ...]] = ()
    """Options that have an effect on Darknet's training, and none on this one."""
    clips_weights: ClassVar[bool] = False
    """Whether `clip` bounds the weights; of most layers Darknet ignores it."""
    outputs_option: ClassVar[str | None] = None
    """The option with the number of outputs, if each has its own row in all tensors."""

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
        """Return the indices of the layers whose outputs are the inputs; -1 is the image.

        Args:
            index: index of this layer in the network, from 0.

        Raises:
            ValueError: the section names a layer that is not before it.
        """
        return (index - 1,)

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the output.

        Raises:
            ValueError: the shapes of the inputs do not fit the options.
        """
        return inputs[0]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the output of a layer without parameters from (B, c, h, w) or (B, n) tensors."""
        return inputs[0]

    def training_phase(self, seen: int) -> int | None:
        """Return a number, equal for passes that launch the same kernels; None: all may differ."""
        return 0 if type(self).__module__.startswith("darknet_torch.") else None

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the module; it is built on the meta device, where only constants own memory."""
        return Function(self)

    def loss(self, raw: Tensor, truth: Truth, context: LossContext) -> Loss | None:
        """Return the loss of the layer in training; None for layers that have none.

        Args:
            raw: the layer's input, (B, c, h, w) or (B, n), with gradient.
            truth: ground truth of the B images.
            context: size of the images, number of images seen.
        """
        return None

    @property
    def masks(self) -> Masks | None:
        """What masks of objects the loss needs, if any."""
        return None

    def truth_size(self, shape: Shape) -> int:
        """Return how many values of an image the loss compares, where the output has `shape`."""
        return shape.size

    def weights(self, *shapes: Shape) -> Iterable[Segment]:
        """Yield the module's tensors in the order of the weights file, which all users follow."""
        return ()

    def state(self, *shapes: Shape) -> tuple[Shape, ...]:
        """Return the shapes of the recurrent state, which is kept from one call to the next.

        The module of a layer with state takes the state's tensors after its input and returns
        them, updated, after its output. They start at zero.
        """
        return ()

    def shares(self, index: int) -> int | None:
        """Return the index of the earlier layer of its kind whose tensors this one shares."""
        return None

    def tie(self, module: nn.Module, source: nn.Module) -> None:
        """Tie the module's parameters to those of `source`, the module that `shares` names."""

    def fold(self, module: nn.Module, *, as_detector: bool = False) -> dict[str, Tensor] | None:
        """Return the module's tensors with batch norm folded into the weights.

        Args:
            module: module of this layer.
            as_detector: see `network.folding.fold`.

        Returns:
            The state dict of the layer without `batch_normalize`; None if there is nothing to
            fold.
        """
        return None

    def fixed(self, *shapes: Shape) -> object:
        """Return what `build` derives from the shapes; the module runs on other sizes if equal."""
        return None

    def adapt(self, readers: frozenset[str]) -> "Layer":
        """Return the layer as it is for the sections (by name) that read its output."""
        return self

    def flops(self, *shapes: Shape) -> int:
        """Return the number of floating point operations for one image, as Darknet counts them."""
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
