"""[softmax]: a softmax over equal groups of a vector, or over the groups of a word tree."""

from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from darknet_torch.layers.base import Layer, Shape
from darknet_torch.layers.registry import layer
from darknet_torch.layers.truth import (
    NO_LABEL,
    Loss,
    LossContext,
    Truth,
    compared,
    given_gradient,
)
from darknet_torch.layers.word_tree import Tree, read_tree
from darknet_torch.parsing.options import FileName, option


@layer("softmax", "soft")
class Softmax(Layer):
    """[softmax]: (B, ...) -> vector (B, n). `spatial` acts in Darknet's GPU code only."""

    passes_gradient: ClassVar[bool] = True

    groups: int = option(1, check=lambda n: n > 0, expected="at least 1")
    temperature: float = option(1.0, check=bool, expected="a number other than 0")
    tree: FileName | None = option(None)
    spatial: float = option(0.0)
    noloss: bool = option(False)

    def shape(self, *inputs: Shape) -> Shape:
        """Return a vector of the input's size."""
        if inputs[0].size % self.groups:
            raise ValueError(f"groups={self.groups}: do not divide {inputs[0].size} values")
        return Shape(inputs[0].size)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the module; it reads the word tree, so that a missing file is an error here."""
        if (tree := self.word_tree) is None:
            return super().build(*shapes)
        if len(tree) != shapes[0].size:
            raise self.section.error(f"tree= has {len(tree)} classes, not {shapes[0].size}")
        return _TreeSoftmax(tree, self.temperature)

    @property
    def class_file(self) -> str | None:
        """A word tree, if the section names one."""
        return None if self.tree is None else "word tree"

    @cached_property
    def word_tree(self) -> Tree | None:
        """The word tree, if the section names one."""
        return None if self.tree is None else read_tree(self.tree.resolve())

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the probabilities of equal groups."""
        groups = torch.unflatten(inputs[0].flatten(1), 1, (self.groups, -1)) / self.temperature
        return torch.softmax(groups, dim=-1).flatten(1)

    def loss(self, raw: Tensor, truth: Truth, context: LossContext) -> Loss | None:
        """Return the cross-entropy, summed; nothing with `noloss`.

        The gradient is probability - truth whatever the temperature is, as in Darknet, and where
        the truth of a group does not sum to 1, too.

        Args:
            raw: (B, ...) the layer's input.
            truth: `values` (B, n): probabilities; with a tree, 1 at a class and its ancestors, and
                NO_LABEL in groups without a label.
            context: not used.

        Raises:
            UsageError: the ground truth has not as many values.
        """
        if self.noloss:
            nothing = raw.detach().new_zeros(())
            return Loss({"class": nothing}, nothing)
        scores, values = compared(raw, truth)
        with torch.no_grad():
            tree = self.word_tree
            softmax = self.forward if tree is None else self._tree_softmax
            probabilities = softmax(scores)
            known = (
                torch.ones_like(values, dtype=torch.bool) if tree is None else values != NO_LABEL
            )
            gradient = (probabilities - values) * known
            tiny = torch.finfo(probabilities.dtype).tiny  # Darknet's cost would be infinite
            cost = -(probabilities.clamp_min(tiny).log() * (known & (values != 0))).sum()
        return Loss({"class": given_gradient(scores, gradient, cost)}, cost)

    def _tree_softmax(self, x: Tensor) -> Tensor:
        assert self.word_tree is not None
        return self.word_tree.softmax(x, self.temperature)


class _TreeSoftmax(nn.Module):
    """A softmax over the groups of a word tree, whose table moves with the network: -> (B, n)."""

    def __init__(self, tree: Tree, temperature: float) -> None:
        super().__init__()
        self.tree, self.temperature = tree, temperature
        self.register_buffer("group_of", tree.group_of.clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.tree.softmax(x.flatten(1), self.temperature, self.get_buffer("group_of"))
