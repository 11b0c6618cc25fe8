"""Sections -> plan: every layer with its wiring and shapes, without tensors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import darknet_torch.heads
import darknet_torch.layers  # noqa: F401 (both register their layer types)
from darknet_torch.errors import ShapeError, UsageError
from darknet_torch.heads.base import Head
from darknet_torch.heads.nms import NmsKind
from darknet_torch.layers.base import Layer, Shape
from darknet_torch.layers.registry import find
from darknet_torch.network.input_size import raise_with_stride
from darknet_torch.network.net_section import NET_SECTIONS, Net
from darknet_torch.network.node import Node
from darknet_torch.parsing import parser
from darknet_torch.parsing.doubts import Doubts
from darknet_torch.parsing.options import Context, bind
from darknet_torch.parsing.parser import Option, Section

__all__ = ["Node", "Plan", "make_plan"]

INT_MAX = 2**31 - 1


@dataclass(frozen=True)
class Plan:
    """All layers of a network.

    Args:
        net: the options of [net].
        context: dialect, mode, and where files that a cfg names are looked for.
        input: shape of one image.
        nodes: the layers in the order of the cfg.
    """

    net: Net
    context: Context
    input: Shape
    nodes: tuple[Node, ...]

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __getitem__(self, index: int) -> Node:
        return self.nodes[index]

    @property
    def sections(self) -> tuple[Section, ...]:
        """The sections that it was made from, [net] first."""
        return (self.net.section, *(node.layer.section for node in self.nodes))

    @property
    def text(self) -> str:
        """The text of a cfg that gives this plan, its size of input included."""
        net, *layers = self.sections
        if self.input.is_vector:
            return parser.write(self.sections)
        sides = {"width": self.input.w, "height": self.input.h}
        others = tuple(option for option in net.options if option.key not in sides)
        mine = tuple(Option(key, str(value)) for key, value in sides.items())
        return parser.write([replace(net, options=mine + others), *layers])

    @property
    def floats(self) -> int:
        """Number of floats in the whole weights file, without its header."""
        return sum(node.floats for node in self.nodes)

    @cached_property
    def heads(self) -> tuple[int, ...]:
        """Indices of the layers that yield boxes."""
        return tuple(node.index for node in self.nodes if isinstance(node.layer, Head))

    @cached_property
    def head_layers(self) -> tuple[Head, ...]:
        """The layers that yield boxes."""
        return tuple(node.layer for node in self.nodes if isinstance(node.layer, Head))

    def head(self, index: int) -> Head:
        """Return the head at an index of `heads`."""
        return self.head_layers[self.heads.index(index)]

    @cached_property
    def classes(self) -> int:
        """Largest number of classes of a head; 0 without heads."""
        return max((head.classes for head in self.head_layers), default=0)

    @cached_property
    def letterbox(self) -> bool:
        """Whether a detector's images keep their aspect ratio: a fact of fork, cfg and heads."""
        if any(head.stretches_images for head in self.head_layers):
            return False
        return self.context.dialect.letterbox or self.net.letter_box

    @cached_property
    def nms(self) -> tuple[NmsKind, float]:
        """Kind of NMS and the exponent of `diounms`: those of the last head, as in Darknet."""
        return self.head_layers[-1].nms()

    @cached_property
    def final(self) -> int:
        """Index of the layer that is the network's result where it has no head: not a [cost]."""
        results = [node.index for node in self.nodes if node.layer.is_result]
        return results[-1] if results else -1

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """Indices of the layers whose outputs `Network.forward` returns; -1 is the image."""
        heads = tuple(self.nodes[index].inputs[0] for index in self.heads)
        return heads or (self.final,)

    @cached_property
    def stride(self) -> tuple[int, int]:
        """Pixels (vertical, horizontal) of the input for one pixel of the coarsest map."""
        maps = [node.shape for node in self.nodes if not node.shape.is_vector and node.shape.h > 1]
        rows = max([1, *(self.input.h // shape.h for shape in maps)])
        columns = max([1, *(self.input.w // shape.w for shape in maps)])
        return rows, columns

    @cached_property
    def size_varies(self) -> bool:
        """Whether no layer fixes height and width of the input."""
        if self.input.is_vector:
            return False
        rows, columns = self.stride
        try:
            self.resized(self.input.h + rows, self.input.w + columns)
        except ShapeError:
            return False
        return self.input.h % rows == 0 and self.input.w % columns == 0

    def resized(self, height: int, width: int) -> "Plan":
        """Return the plan for another size of input, in pixels.

        Raises:
            ShapeError: a layer does not fit, or would need other weights.
        """
        if self.input.is_vector:
            raise ShapeError(f"{self.net.section.where()}: the input is a vector, not an image")
        net = replace(self.net, height=height, width=width)
        other = _connect(net, [node.layer for node in self.nodes], self.context)
        for mine, theirs in zip(self.nodes, other.nodes, strict=True):
            fixed = [node.layer.fixed(*node.input_shapes) for node in (mine, theirs)]
            if mine.tensors != theirs.tensors or fixed[0] != fixed[1]:
                raise mine.layer.section.error(
                    f"fixes the size of the input at {self.input.w} x {self.input.h}, it cannot be"
                    f" {width} x {height}",
                    kind=ShapeError,
                )
        return other

    def with_layers(self, sections: Sequence[Section]) -> "Plan":
        """Return the plan of other layers below the same [net] and input."""
        width, height = self.input.w or None, self.input.h or None  # no sides: vectors
        return make_plan([self.net.section, *sections], self.context, width=width, height=height)


def make_plan(
    sections: Sequence[Section],
    context: Context,
    *,
    width: int | None = None,
    height: int | None = None,
) -> Plan:
    """Return the plan of a cfg's sections.

    Args:
        sections: [net] and the layers.
        context: dialect, mode, and where files that a cfg names are looked for.
        width: of the network's input in pixels; None is that of [net].
        height: of the network's input in pixels; None is that of [net].

    Raises:
        CfgError: with file and line; ShapeError where layers do not fit.
    """
    doubts = context.doubts or Doubts()  # those of the plan that this one is made from
    try:
        return _make_plan(sections, replace(context, doubts=doubts), width, height)
    finally:
        doubts.emit()


def _make_plan(
    sections: Sequence[Section], context: Context, width: int | None, height: int | None
) -> Plan:
    first = sections[0]
    if first.name not in NET_SECTIONS:
        raise first.error("the first section must be [net] or [network]")
    for each in sections[1:]:
        if each.name in NET_SECTIONS:
            raise each.error("only the first section may be [net] or [network]")
    net = bind(Net, first, context, section=first)
    for name, value in (("width", width), ("height", height)):
        if value is not None and value < 1:
            raise UsageError(f"{name}={value}: must be at least 1")
    net = replace(net, width=width or net.width, height=height or net.height)
    if len(sections) == 1:
        raise first.error("no layer behind it")
    layers = [
        bind(find(each, context.dialect), each, context, section=each, dialect=context.dialect)
        for each in sections[1:]
    ]
    return _connect(net, layers, context)


def _connect(net: Net, layers: Sequence[Layer], context: Context) -> Plan:
    try:
        return _plan(net, layers, context)
    except ShapeError as error:
        raise_with_stride(error, net, lambda other: _plan(other, layers, context))


def _plan(net: Net, layers: Sequence[Layer], context: Context) -> Plan:
    wiring = [_inputs(layer, index) for index, layer in enumerate(layers)]
    layers = _adapted(layers, wiring)
    shapes = [_input_shape(net)]  # shapes[i + 1] is layer i's, shapes[0] the image's
    nodes: list[Node] = []
    for index, (layer, inputs) in enumerate(zip(layers, wiring, strict=True)):
        node = _node(index, layer, inputs, tuple(shapes[i + 1] for i in inputs))
        nodes.append(_sharing(node, nodes))
        shapes.append(node.shape)
    return Plan(net, context, shapes[0], tuple(nodes))


def _input_shape(net: Net) -> Shape:
    shape = net.shape()
    try:
        _check_shape(shape)
    except ValueError as error:
        raise net.section.error(str(error), kind=ShapeError) from error
    return shape


def _sharing(node: Node, before: Sequence[Node]) -> Node:
    """Drop a layer's tensors if it uses those of another; ShapeError if they do not fit."""
    layer = node.layer
    try:
        number = layer.shares(node.index)
    except ValueError as error:
        raise layer.section.error(str(error)) from error
    if number is None:
        return node
    source = before[number]
    while source.shared is not None:
        source = before[source.shared]
    mine, theirs = ([(t.name, t.shape) for t in each.tensors] for each in (node, source))
    if type(layer) is not type(source.layer) or mine != theirs:
        raise layer.section.error(
            f"layer {number} [{source.name}] has no weights of the shapes that it could share",
            kind=ShapeError,
        )
    return replace(node, tensors=(), shared=source.index)


def _inputs(layer: Layer, index: int) -> tuple[int, ...]:
    try:
        return layer.inputs(index)
    except ValueError as error:
        raise layer.section.error(str(error)) from error


def _adapted(layers: Sequence[Layer], wiring: Sequence[tuple[int, ...]]) -> list[Layer]:
    readers: list[set[str]] = [set() for _ in layers]
    for layer, inputs in zip(layers, wiring, strict=True):
        for index in inputs:
            if index >= 0:
                readers[index].add(layer.section.name)
    return [layer.adapt(frozenset(names)) for layer, names in zip(layers, readers, strict=True)]


def _node(
    index: int, layer: Layer, inputs: tuple[int, ...], input_shapes: tuple[Shape, ...]
) -> Node:
    try:
        shape = layer.shape(*input_shapes)
        _check_shape(shape)
        tensors = tuple(layer.weights(*input_shapes))
        if sum(tensor.count for tensor in tensors) > INT_MAX:
            raise ValueError("has more weights than Darknet can count")
    except ValueError as error:
        raise layer.section.error(str(error), kind=ShapeError) from error
    if layer.dontload:
        tensors = tuple(replace(tensor, stored=False) for tensor in tensors)
    return Node(index, layer, inputs, input_shapes, shape, tensors)


def _check_shape(shape: Shape) -> None:
    if shape.c < 1 or (not shape.is_vector and (shape.h < 1 or shape.w < 1)):
        raise ValueError("nothing is left of the map before it: the input is too small")
    if shape.size > INT_MAX:
        raise ValueError(f"{shape} are more values than Darknet can count")
