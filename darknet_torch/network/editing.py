"""Network -> another network: only its first layers, heads for other classes, other options.

The results are independent of the original, with a plan and a cfg of their own, so that they can be
trained, saved and converted like any network.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import torch
from torch import Tensor

from darknet_torch.errors import CfgError, UsageError
from darknet_torch.network.network import Network
from darknet_torch.network.plan import Node, Plan, make_plan
from darknet_torch.network.rebuilding import rebuilt
from darknet_torch.parsing.dialect import Dialect
from darknet_torch.parsing.options import Context, check_value, option_names
from darknet_torch.parsing.parser import Option, Section

__all__ = ["cut", "fitting_classes", "with_classes", "with_options"]

STALE = {"counters_per_class", "numload"}
"""Options about the old classes, or about the old file."""


@dataclass(frozen=True)
class _Change:
    """A weighted layer whose number of outputs changes, for one head (None: a classifier)."""

    node: Node
    outputs: int
    head: int | None = None
    kept: tuple[int, ...] = ()
    """Outputs that belong to no class."""


def cut(network: Network, layers: int) -> Network:
    """Return a copy of only the first layers (a backbone, as `darknet partial` cuts it).

    Its `forward` returns the raw outputs of the heads that are left, else the last layer's output.

    Args:
        network: a network with values.
        layers: how many layers to keep.

    Raises:
        UsageError: the network has fewer layers.
    """
    plan = network.plan
    if not 0 < layers <= len(plan):
        raise UsageError(f"cutoff={layers}: the network has layers 1 to {len(plan)}")
    result = rebuilt(network, plan.with_layers(plan.sections[1 : layers + 1]))
    result.names = network.names if layers == len(plan) or result.plan.heads else ()
    result.loaded = min(network.loaded, layers)
    return result


def with_classes(network: Network, classes: int, names: Sequence[str] = ()) -> Network:
    """Return a copy for another number of classes, as a start for training on other images.

    Of a detector, every head and the weighted layer before it change ([convolutional];
    [connected] of YOLOv1): weights of boxes and objectness are kept, those of classes start at
    random as in a new network, even where their number stays. Of a classifier, the last weighted
    layer before pooling, softmax and cost starts anew. All other tensors are copied.

    Args:
        network: a network with values.
        classes: the new number of classes.
        names: of the new classes.

    Raises:
        UsageError: this cannot be done: word trees and class maps, grouped convolutions, a
            weighted layer that other layers read too.
    """
    if classes < 1:
        raise UsageError(f"classes={classes}: must be at least 1")
    if names and len(names) != classes:
        raise UsageError(f"{len(names)} names for {classes} classes")
    changes = {change.node.index: change for change in _changes(network.plan, classes)}
    heads = {change.head for change in changes.values() if change.head is not None}
    sections = [_section(node, changes, heads, classes) for node in network.plan]
    plan = network.plan.with_layers(sections)

    def renew(index: int, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return _renewed(changes[index], plan, state) if index in changes else {}

    result = rebuilt(network, plan, renew)
    result.names, result.loaded = tuple(names), network.loaded
    return result


def fitting_classes(plan: Plan, floats: int) -> tuple[int, int] | None:
    """Return the number of classes with which a weights file would fit a cfg, if there is one.

    Args:
        plan: of the cfg.
        floats: in the weights file, without its header.

    Returns:
        The number of classes, and that of the outputs (`filters`) that the last head needs for
        them; None where no other number of classes fits, or classes cannot be changed.
    """
    try:
        one, two = (list(_changes(plan, classes)) for classes in (1, 2))
    except UsageError:
        return None
    per_output = [each.node.floats // each.node.shape.c for each in one]
    of_one, of_two = (
        sum(n * change.outputs for n, change in zip(per_output, changes, strict=True))
        for changes in (one, two)
    )
    others = plan.floats - sum(each.node.floats for each in one)
    more, rest = divmod(floats - others - of_one, of_two - of_one)
    if rest or more < 0:
        return None
    return more + 1, one[-1].outputs + more * (two[-1].outputs - one[-1].outputs)


def with_options(network: Network, options: Mapping[str, object]) -> Network:
    """Return a copy whose cfg has other values for some options.

    Layers whose tensors get other shapes start at random, with a warning, if the network has
    neither read weights nor seen images.

    Args:
        network: a network with values.
        options: key -> value. `KEY` is an option of [net], `SECTION.KEY` one of all sections of
            that name; lists are texts with commas, as in a cfg.

    Raises:
        UsageError: no such option or section, or a value that the option cannot have.
        ShapeError: tensors would get other shapes, and have values that were learnt.
    """
    sections = list(network.plan.sections)
    owners = [type(network.plan.net), *(type(node.layer) for node in network.plan)]
    for name, value in options.items():
        first, dot, key = name.rpartition(".")
        places = [n for n, each in enumerate(sections) if each.name == first] if dot else [0]
        if not places:
            raise UsageError(f"{name}: the cfg has no section [{first}]")
        _must_be_option(name, key, owners[places[0]], network.plan.context.dialect)
        text = str(int(value)) if isinstance(value, bool) else str(value)
        for place in places:
            sections[place] = _with(sections[place], key, text)
        _must_be_legal(name, text, owners[places[0]], sections[places[0]], network.plan.context)
    now = {"width": network.plan.input.w or None, "height": network.plan.input.h or None}
    sides = {side: None if side in options else pixels for side, pixels in now.items()}
    result = rebuilt(
        network, make_plan(sections, network.plan.context, **sides), anew=_is_new(network)
    )
    result.names, result.loaded = network.names, network.loaded
    return result


def _is_new(network: Network) -> bool:
    return not network.loaded and not network.header.seen


def _must_be_option(name: str, key: str, owner: type, dialect: Dialect) -> None:
    known = option_names(owner)
    if key not in known:
        near = get_close_matches(key, known, 1)
        hint = f"; did you mean {name.removesuffix(key)}{near[0]}?" if near else ""
        raise UsageError(f"{name}: no such option of the cfg{hint}")
    if not dialect.knows(known[key]):
        raise UsageError(f"{name}: the {dialect.name} fork has no such option; dialect= is another")


def _must_be_legal(name: str, text: str, owner: type, section: Section, context: Context) -> None:
    """Raise UsageError for a text that the option cannot have; a cfg's line is not to blame."""
    key = name.rpartition(".")[2]
    try:
        check_value(owner, section, key, context)
    except CfgError as error:
        why = str(error).partition(f"{key}={text}: ")[2].partition("; read as ")[0]
        raise UsageError(f"{name}={text}: {why or error}") from error


def _renewed(change: _Change, plan: Plan, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a layer with other outputs; rows of boxes and objectness are kept."""
    node = plan[change.node.index]
    kept = () if change.head is None else _outputs_without_class(plan, change.head)
    renewed = {}
    for segment in node.tensors:
        old = state[segment.name]
        new = segment.initial((change.outputs, *old.shape[1:])).to(old)
        new[list(kept)] = old[list(change.kept)]
        renewed[segment.name] = new
    return renewed


def _changes(plan: Plan, classes: int) -> Iterator[_Change]:
    if not plan.heads and plan[plan.final].layer.masks is not None:
        raise _refused(plan[plan.final], "has classes of pixels; edit its classes and filters")
    if not plan.heads:
        yield _Change(_weighted_layer(plan, plan.final), classes)
    for index, head in zip(plan.heads, plan.head_layers, strict=True):
        _must_have_plain_classes(plan[index])
        node = _weighted_layer(plan, plan[index].inputs[0], index)
        if node.shape.c != plan[index].shape.c:
            raise _refused(node, f"gives {node.shape}, not a vector of outputs")
        kept = _outputs_without_class(plan, index)
        per_class = (node.shape.c - len(kept)) // head.classes
        yield _Change(node, len(kept) + per_class * classes, index, kept)


def _weighted_layer(plan: Plan, index: int, reader: int | None = None) -> Node:
    """Follow the wiring back through layers that keep channels, to the weighted one before them."""
    while index >= 0:
        node = plan[index]
        _must_be_read_only_by(plan, index, reader)
        if node.layer.outputs_option is not None:
            _must_be_changeable(plan, node)
            return node
        passes = len(node.inputs) == 1 and node.input_shapes[0].c == node.shape.c
        if not passes or node.tensors:
            break
        _must_have_plain_classes(node)
        index, reader = node.inputs[0], index
    where = f"layer {index} [{plan[index].name}]" if index >= 0 else "the image"
    raise UsageError(
        f"classes: a [convolutional] or [connected] must be before the classes, not {where}"
    )


def _refused(node: Node, why: str) -> UsageError:
    return UsageError(f"layer {node.index} [{node.name}]: classes cannot be changed: it {why}")


def _must_have_plain_classes(node: Node) -> None:
    if node.layer.class_file is not None:
        raise _refused(node, f"has a {node.layer.class_file} of the old classes")


def _must_be_read_only_by(plan: Plan, index: int, reader: int | None) -> None:
    for node in plan:
        reads = index in node.inputs and node.index != reader
        if reads and (reader is not None or node.layer.is_result):
            raise _refused(plan[index], f"feeds layer {node.index} [{node.name}] too")


def _must_be_changeable(plan: Plan, node: Node) -> None:
    if node.layer.weight_groups > 1:
        raise _refused(node, "has groups of channels")
    if node.shared is not None or any(other.shared == node.index for other in plan):
        raise _refused(node, "shares its weights with another layer")


def _outputs_without_class(plan: Plan, index: int) -> tuple[int, ...]:
    """Return the indices of a head's inputs that belong to no class, entry by entry.

    The head's `maps` orders the indices as it would order the values.
    """
    head, shape = plan.head(index), plan[index].shape
    numbers = torch.arange(shape.c, dtype=torch.float64)
    maps = head.maps(numbers.view((1, -1) if shape.is_vector else (1, -1, 1, 1)))
    return tuple(int(number) for number in maps[:, :, : -head.classes].flatten())


def _section(node: Node, changes: dict[int, _Change], heads: set[int], classes: int) -> Section:
    section, option = node.layer.section, node.layer.outputs_option
    if node.index in changes and option is not None:
        return _with(_without_stale(section), option, changes[node.index].outputs)
    return _with(_without_stale(section), "classes", classes) if node.index in heads else section


def _without_stale(section: Section) -> Section:
    return replace(section, options=tuple(o for o in section.options if o.key not in STALE))


def _with(section: Section, key: str, value: object) -> Section:
    """Set an option in its place, or behind the others."""
    first, new = section.option(key), Option(key, str(value))
    options = [o for o in section.options if o.key != key or o is first]
    changed = tuple(new if o is first else o for o in options)
    return replace(section, options=changed if first is not None else (*changed, new))
