"""Node: a layer of a plan, with its wiring and shapes."""

from dataclasses import dataclass

from darknet_torch.layers.base import Layer, Segment, Shape

__all__ = ["Node"]


@dataclass(frozen=True)
class Node:
    """A layer of a network, with its wiring and shapes.

    Args:
        index: of the layer, from 0.
        layer: its options and its computation.
        inputs: indices of the layers whose outputs it reads; -1 is the image.
        input_shapes: shapes of those outputs.
        shape: of its own output.
        tensors: its own parameters and buffers, in the order of the weights file.
        shared: index of the layer whose tensors it uses instead, if any.
    """

    index: int
    layer: Layer
    inputs: tuple[int, ...]
    input_shapes: tuple[Shape, ...]
    shape: Shape
    tensors: tuple[Segment, ...]
    shared: int | None = None

    @property
    def name(self) -> str:
        """Name of the section."""
        return self.layer.section.name

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The tensors that the weights file holds, in its order."""
        return tuple(segment for segment in self.tensors if segment.stored)

    @property
    def floats(self) -> int:
        """Number of floats in the weights file."""
        return sum(segment.count for segment in self.segments)
