"""Network -> another network: only its first layers, or heads for other classes.

The results are independent of the original, with a plan and a cfg of their own, so that they can be
trained, saved and converted like any network.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.heads.base import Head
from darknet_torch.network.network import Network
from darknet_torch.network.plan import Node, Plan
from darknet_torch.parsing.parser import Option, Section

__all__ = ["cut", "with_classes"]

WIDTHS = {"convolutional": "filters", "conv": "filters", "connected": "output", "conn": "output"}
"""Sections that can get another number of outputs, and the option that says it."""
STALE = {"counters_per_class", "numload"}
"""Options that speak of the old classes, or of the old file."""


@dataclass(frozen=True)
class _Change:
    """A product whose number of outputs changes, for one head (None: a classifier)."""

    product: Node
    head: Node | None
    outputs: int


def cut(network: Network, layers: int) -> Network:
    """Return a copy of only the first so many layers (a backbone, as `darknet partial` cuts it).

    Its `forward` returns the raw maps of the heads that are left, else the last layer's output.
    Raises UsageError if there are not that many.
    """
    plan = network.plan
    if not 0 < layers <= len(plan):
        raise UsageError(f"cutoff={layers}: the network has layers 1 to {len(plan)}")
    result = _rebuilt(network, plan.with_layers(plan.sections[1 : layers + 1]), {})
    result.names = network.names if layers == len(plan) or result.plan.heads else ()
    result.loaded = min(network.loaded, layers)
    return result


def with_classes(network: Network, classes: int, names: Sequence[str] = ()) -> Network:
    """Return a copy for another number of classes, as a start for training on other pictures.

    Of a detector, every head and the product before it are changed ([convolutional]; [connected] of
    YOLOv1): what belongs to boxes and objectness is kept, what belongs to classes starts at random
    as in a new network, even where their number stays. Of a classifier, the last product before
    pooling, softmax and cost starts anew. All other tensors are copied.

    names: of the new classes. Raises UsageError where that cannot be: word trees and class maps,
    grouped convolutions, a product that other layers read too.
    """
    if classes < 1:
        raise UsageError(f"classes={classes}: must be at least 1")
    if names and len(names) != classes:
        raise UsageError(f"{len(names)} names for {classes} classes")
    changes = {change.product.index: change for change in _changes(network.plan, classes)}
    heads = {change.head.index for change in changes.values() if change.head is not None}
    sections = [_section(node, changes, heads, classes) for node in network.plan]
    result = _rebuilt(network, network.plan.with_layers(sections), changes)
    result.names, result.loaded = tuple(names), network.loaded
    return result


def _rebuilt(network: Network, plan: Plan, changes: Mapping[int, _Change]) -> Network:
    """Return a network of another plan with copies of the tensors, changed where that is said."""
    if any(parameter.is_meta for parameter in network.parameters()):
        raise UsageError("the network has no values yet; load or initialise it first")
    result = Network(plan)
    for node, old, new in zip(plan, network.layers, result.layers, strict=False):
        state = {name: tensor.clone() for name, tensor in old.state_dict().items()}
        if node.index in changes:
            state |= _renewed(changes[node.index], plan, state)
        new.load_state_dict(state, assign=True)
        for name, buffer in new.named_buffers():  # what no state holds, such as blur kernels
            buffer.data = buffer.to(old.get_buffer(name))
    for node in plan:
        if node.shared is not None:
            node.layer.tie(result.layers[node.index], result.layers[node.shared])
    result.header = network.header
    return result.train(network.training)


def _renewed(change: _Change, plan: Plan, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a product with other outputs; those that no class has are kept."""
    node, kept, places = plan[change.product.index], [], []
    if change.head is not None:
        kept, places = _class_free(change.head), _class_free(plan[change.head.index])
    renewed = {}
    for segment in node.tensors:
        old = state[segment.name]
        new = segment.initial((change.outputs, *old.shape[1:])).to(old)
        new[places] = old[kept]
        renewed[segment.name] = new
    return renewed


def _changes(plan: Plan, classes: int) -> Iterator[_Change]:
    if not plan.heads:
        yield _Change(_product(plan, plan.final), None, classes)
    for index in plan.heads:
        head = plan[index]
        _must_have_plain_classes(head)
        product = _product(plan, head.inputs[0], index)
        if product.shape.c != head.shape.c:
            raise _refused(product, f"gives {product.shape}, not a vector of outputs")
        kept = len(_class_free(head))
        per_class = (product.shape.c - kept) // cast(Head, head.layer).classes
        yield _Change(product, head, kept + per_class * classes)


def _product(plan: Plan, index: int, reader: int | None = None) -> Node:
    """Follow the wiring back through layers that keep channels, to the product that made them."""
    while index >= 0:
        node = plan[index]
        _must_be_read_only_by(plan, index, reader)
        if node.name in WIDTHS:
            _must_be_changeable(plan, node)
            return node
        passes = len(node.inputs) == 1 and node.input_shapes[0].c == node.shape.c
        if not passes or node.tensors:
            break
        if getattr(node.layer, "tree", None) is not None:
            raise _refused(node, "has a word tree of the old classes")
        index, reader = node.inputs[0], index
    where = f"layer {index} [{plan[index].name}]" if index >= 0 else "the image"
    raise UsageError(
        f"classes: a [convolutional] or [connected] wanted before the classes, {where} found"
    )


def _refused(node: Node, why: str) -> UsageError:
    return UsageError(f"layer {node.index} [{node.name}]: classes cannot be changed: it {why}")


def _must_have_plain_classes(head: Node) -> None:
    layer = cast(Head, head.layer)
    if layer.tree is not None or layer.map is not None:
        what = "word tree" if layer.tree is not None else "class map"
        raise _refused(head, f"has a {what} of the old classes")


def _must_be_read_only_by(plan: Plan, index: int, reader: int | None) -> None:
    for node in plan:
        reads = index in node.inputs and node.index != reader
        if reads and (reader is not None or node.name != "cost"):
            raise _refused(plan[index], f"feeds layer {node.index} [{node.name}] too")


def _must_be_changeable(plan: Plan, node: Node) -> None:
    if getattr(node.layer, "used_groups", 1) > 1:
        raise _refused(node, "has groups of channels")
    if node.shared is not None or any(other.shared == node.index for other in plan):
        raise _refused(node, "shares its weights with another layer")


def _class_free(head: Node) -> list[int]:
    """Return the numbers of the outputs before a head that are no classes, entry by entry.

    The head itself tells: it sorts the numbers of its inputs as it would sort their values.
    """
    layer, c = cast(Head, head.layer), head.shape.c
    shape = (1, c) if head.shape.is_vector else (1, c, 1, 1)
    maps = layer.maps(torch.arange(c, dtype=torch.float64).view(shape))
    return [int(number) for number in maps[:, :, : -layer.classes].flatten()]


def _section(node: Node, changes: dict[int, _Change], heads: set[int], classes: int) -> Section:
    section = node.layer.section
    if node.index in changes:
        return _with(section, WIDTHS[section.name], changes[node.index].outputs)
    return _with(section, "classes", classes) if node.index in heads else section


def _with(section: Section, key: str, value: int) -> Section:
    """Set an option where it stands, or behind the others."""
    first, new = section.option(key), Option(key, str(value))
    options = [o for o in section.options if o.key not in STALE and (o.key != key or o is first)]
    changed = tuple(new if o is first else o for o in options)
    return replace(section, options=changed if first is not None else (*changed, new))
