"""Which floats of a weights file belong to which tensor, and how many layers a file holds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from darknet_torch.errors import WeightsError
from darknet_torch.layers.base import Segment
from darknet_torch.network.editing import fitting_classes
from darknet_torch.network.plan import Node, Plan

__all__ = ["FileSlot", "file_slots", "layer_count", "readable"]


_FEW = 4


@dataclass(frozen=True)
class FileSlot:
    """A tensor of the network and where its values start among the file's floats."""

    node: Node
    segment: Segment
    start: int

    def __str__(self) -> str:
        return f"layer {self.node.index} [{self.node.name}] {self.segment.kind}"


def file_slots(plan: Plan) -> Iterator[FileSlot]:
    """Yield the slots of all tensors in file order, those that are not stored too."""
    start = 0
    for node in plan:
        for segment in node.tensors:
            yield FileSlot(node, segment, start)
            start += segment.count if segment.stored else 0


def layer_count(plan: Plan, cutoff: int | None) -> int:
    """Return how many layers a cutoff leaves: all for None.

    Raises:
        WeightsError: the network does not have so many.
    """
    if cutoff is None:
        return len(plan)
    if not 0 < cutoff <= len(plan):
        raise WeightsError(f"cutoff={cutoff}: the network has layers 1 to {len(plan)}")
    return cutoff


def readable(
    plan: Plan, path: Path, size: int, *, cutoff: int | None, partial: bool
) -> tuple[int, int]:
    """Return how many floats are to be read from a file, and how many layers they fill.

    Args:
        plan: of the network.
        path: of the file, for messages.
        size: of the file without its header, in bytes.
        cutoff: the number of layers to read; None: all.
        partial: the file may end after any layer.

    Raises:
        WeightsError: the file is too short or too long.
    """
    available, rest = divmod(size, 4)
    layers = layer_count(plan, cutoff)
    expected = sum(node.floats for node in plan.nodes[:layers])
    if available < expected:
        if not partial:
            raise _too_short(plan, path, available, expected)
        layers, expected = _layers_within(plan, path, available), available
    if cutoff is None and (available > expected or rest):
        more = f" and {rest} bytes" if rest else ""
        hint = "it belongs to another cfg (or cutoff=N reads only the first N layers)"
        if rest or available - expected <= _FEW:
            hint = "so few more are no layer: its header is not Darknet's, or it is damaged"
        elif cfg := _other_classes(plan, available):
            hint = cfg
        raise WeightsError(
            f"{path}: too long: the network has {expected} floats, the file {available}{more};"
            f" {hint}"
        )
    return expected, layers


def _too_short(plan: Plan, path: Path, available: int, expected: int) -> WeightsError:
    slot = _slot_at(plan, available)
    if cfg := _other_classes(plan, available):
        hint = cfg
    elif available == 0 or _begins_layer(slot, available):
        hint = f"ends before it; partial=True or cutoff={slot.node.index} takes the layers before"
    else:
        hint = "it belongs to another cfg or is damaged"
    return WeightsError(
        f"{path}: {_missing(slot, available)}; {hint}"
        f" (the network has {expected} floats in all, the file {available})"
    )


def _other_classes(plan: Plan, available: int) -> str:
    """Return the hint for weights of the same network with another number of classes, or ""."""
    if (fitting := fitting_classes(plan, available)) is None:
        return ""
    classes, outputs = fitting
    if not plan.heads:
        return f"it belongs to the same cfg with {classes} classes"
    return (
        f"it belongs to the same cfg with {classes} classes:"
        f" classes={classes} in each head, filters={outputs} before it"
    )


def _layers_within(plan: Plan, path: Path, available: int) -> int:
    """Return how many layers a partial file holds; it must end between two of them."""
    slot = _slot_at(plan, available)
    if not _begins_layer(slot, available):
        raise WeightsError(
            f"{path}: {_missing(slot, available)};"
            f" a partial file must end after a layer (cutoff={slot.node.index} stops there)"
        )
    return slot.node.index


def _slot_at(plan: Plan, position: int) -> FileSlot:
    """The slot in which, or before which, the file ends."""
    return next(
        slot
        for slot in file_slots(plan)
        if slot.segment.stored and slot.start + slot.segment.count > position
    )


def _begins_layer(slot: FileSlot, position: int) -> bool:
    return slot.start == position and slot.segment is slot.node.segments[0]


def _missing(slot: FileSlot, available: int) -> str:
    left = available - slot.start
    return f"{slot}: {slot.segment.count} floats expected, {left} left in the file"
