"""Matching of the tensors in a checkpoint to those of a network.

A state dict of this package, with keys such as `layers.12.conv.weight`, is taken as it is.
Checkpoints of other programs are read if their tensors are those of the cfg's layers, in one of
two ways:

* the keys have the cfg's layer indices after a common prefix, whatever follows:
  `module_list.12.batch_norm_12.bias`, `models.12.conv1.weight`;
* the tensors are in the order of the cfg, whatever their keys: for each layer the weight (and bias)
  of its convolution or matrix, then weight, bias, running_mean and running_var of its batch norm.

Shapes must be equal, and a key that ends in one of these words must be matched to such a tensor.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import groupby, zip_longest
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from darknet_torch.errors import WeightsError
from darknet_torch.layers.base import Segment
from darknet_torch.network.network import Network
from darknet_torch.network.plan import Node

__all__ = ["TensorSlot", "float32", "match", "tensor_slots"]

ROLES = ("weight", "bias", "running_mean", "running_var")
CONSTANTS = re.compile(r"num_batches_tracked|.*anchor.*|.*grid.*|strides?|masks?")
"""Last words of the keys of what a port keeps beside its parameters."""
LOOSE = ("shortcut_weights", "implicit_weights")
"""Kinds of tensors that ports keep with other axes of length 1."""
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

Group = dict[str, Tensor]
Names = dict[str, str]
"""The keys of a layer without their common prefix -> the whole keys."""


class TensorSlot(NamedTuple):
    """A tensor of the network to be filled; `shape` is that of the module's tensor."""

    node: Node
    segment: Segment
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"layer {self.node.index} [{self.node.name}] {self.segment.kind}"

    @property
    def name(self) -> str:
        """Key in the network's state dict."""
        return f"layers.{self.node.index}.{self.segment.name}"

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether a tensor of that shape can fill it."""
        if self.segment.kind not in LOOSE:
            return shape == self.shape
        return [side for side in shape if side != 1] == [side for side in self.shape if side != 1]


def tensor_slots(network: Network) -> list[TensorSlot]:
    """Return the network's tensors in the order of its state dict, shared ones once."""
    slots = []
    for node in network.plan:
        segments = {segment.name: segment for segment in node.tensors}
        for name, tensor in network.layers[node.index].state_dict().items():
            if name in segments:
                slots.append(TensorSlot(node, segments[name], tuple(tensor.shape)))
    return slots


def match(
    network: Network, tensors: Mapping[str, Tensor], path: Path, *, ordered: bool = True
) -> list[tuple[TensorSlot, Tensor]]:
    """Match the tensors of a checkpoint to those of a network.

    Args:
        network: the network to be filled.
        tensors: the tensors of the checkpoint by their keys.
        path: of the checkpoint, for messages.
        ordered: whether the order of `tensors` has a meaning.

    Returns:
        All tensors of the network, each with the checkpoint's tensor for it.

    Raises:
        WeightsError: they do not match; the message names the layer and the tensor.
    """
    slots = tensor_slots(network)
    parameters = _without_copies(network, _parameters(tensors), path)
    groups = _by_number(parameters)
    numbers = {slot.node.index for slot in slots}
    if not groups or len(numbers & groups.keys()) * 2 < len(numbers):
        return _in_order(slots, parameters, path, ordered)
    try:
        return _numbered(slots, groups, parameters, path)
    except WeightsError:
        if not ordered or numbers != groups.keys():
            raise
        return _else_in_order(slots, groups, parameters, path)


def float32(slot: TensorSlot, tensor: Tensor, path: Path) -> Tensor:
    """Return a copy of a checkpoint's tensor in float32 and in the shape of the slot.

    Raises:
        WeightsError: it is not a dense tensor of floats, or has values that no training yields:
            not finite, or negative variances.
    """
    if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in FLOATS:
        kind = "without values" if tensor.is_meta else f"{tensor.layout}, {tensor.dtype}"
        raise WeightsError(f"{path}: {slot}: dense 16, 32 or 64 bit floats expected, not {kind}")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise WeightsError(f"{path}: {slot}: {tensor.numel()} values expected, fewer are stored")
    values = tensor.detach().to("cpu", torch.float32, copy=True).reshape(slot.shape).contiguous()
    if not torch.isfinite(values.sum()):  # if the sum is finite, all values are
        count = int((~torch.isfinite(values)).sum())
        if count:  # else large values add up to infinity
            raise WeightsError(f"{path}: {slot}: {count} values are not finite")
    if slot.segment.kind == "rolling_variance":
        lowest = float(values.min())
        if lowest < -torch.finfo(torch.float32).tiny:
            raise WeightsError(f"{path}: {slot}: a variance cannot be {lowest:g}")
    return values


def _parameters(tensors: Mapping[str, Tensor]) -> Group:
    """Drop counters and the constants that ports keep as buffers."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not CONSTANTS.fullmatch(_last(name))
    }


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _without_copies(network: Network, parameters: Group, path: Path) -> Group:
    """Drop the second copies of tensors that layers share."""
    unique, shapes = dict(parameters), network.state_dict()
    for node in network.plan:
        if node.shared is None:
            continue
        for segment in network.plan[node.shared].tensors:
            mine = f"layers.{node.index}.{segment.name}"
            theirs = parameters.get(f"layers.{node.shared}.{segment.name}")
            copy = unique.pop(mine, None)
            if copy is not None and not _equal(copy, theirs, shapes[mine].shape):
                raise WeightsError(
                    f"{path}: layer {node.index} [{node.name}] {segment.kind}: must be those of"
                    f" layer {node.shared}, which it shares"
                )
    return unique


def _equal(one: Tensor, other: Tensor | None, shape: torch.Size) -> bool:
    """Compare values; False for what cannot be a tensor of the network."""
    if other is None or not one.shape == other.shape == shape or one.dtype != other.dtype:
        return False
    plain = all(each.layout == torch.strided and not each.is_meta for each in (one, other))
    return plain and torch.equal(one, other)


def _by_number(parameters: Group) -> dict[int, Names]:
    """Group the keys by the layer index after their common prefix; {} if one has none."""
    split = {name: name.split(".") for name in parameters}
    common = _common(list(split.values()))
    groups: dict[int, Names] = defaultdict(dict)
    for name, parts in split.items():
        number, *rest = parts[common:] or [""]
        if not re.fullmatch("[0-9]{1,6}", number):
            return {}
        groups[int(number)][".".join(rest)] = name
    return dict(groups)


def _common(split: list[list[str]]) -> int:
    """Return how many words the common prefix has."""
    columns = enumerate(zip(*split, strict=False))
    most = min(map(len, split), default=0)
    return next((number for number, column in columns if len(set(column)) > 1), most)


def _numbered(
    slots: list[TensorSlot], groups: dict[int, Names], parameters: Group, path: Path
) -> list[tuple[TensorSlot, Tensor]]:
    """Match the groups of keys to the layers of their indices."""
    pairs: list[tuple[TensorSlot, Tensor]] = []
    unmatched = dict(groups)
    for index, each in groupby(slots, lambda slot: slot.node.index):
        layer_slots = list(each)
        ordered = _in_module_order(layer_slots, unmatched.pop(index, {}), path)
        pairs += _zipped(layer_slots, {name: parameters[name] for name in ordered}, path)
    for number, names in unmatched.items():
        first = next(iter(names.values()))
        raise _unexpected(first, path, f"layer {number} has no tensors of its own")
    return pairs


def _in_module_order(slots: list[TensorSlot], names: Names, path: Path) -> list[str]:
    """Order the keys of a layer as its state dict does, whatever order the file has."""
    own = [slot.segment.name for slot in slots]
    if names.keys() == set(own):
        return [names[name] for name in own]
    parts = {name.rpartition(".")[0] for name in names}
    norms = {part for part in parts if f"{part}.running_var".lstrip(".") in names}
    if len(norms) > 1 or len(parts - norms) > 1:
        raise WeightsError(
            f"{path}: layer {slots[0].node.index} [{slots[0].node.name}]: {len(parts)} parts in the"
            f" file; only the names {', '.join(own)} would tell which is which"
        )
    return [names[name] for name in sorted(names, key=lambda name: _rank(name, norms))]


def _rank(name: str, norms: set[str]) -> tuple[bool, int]:
    part, _, role = name.rpartition(".")
    return part in norms, ROLES.index(role) if role in ROLES else 0


def _in_order(
    slots: list[TensorSlot], parameters: Group, path: Path, ordered: bool
) -> list[tuple[TensorSlot, Tensor]]:
    if not ordered and {slot.name for slot in slots} != parameters.keys():
        raise WeightsError(
            f"{path}: the tensors' names must hold the numbers of the cfg's layers, such as"
            f" layers.12.conv.weight, since this format keeps no order;"
            f" {next(iter(parameters), 'none')!r} does not"
        )
    if not ordered:
        parameters = {slot.name: parameters[slot.name] for slot in slots}
    return _zipped(slots, parameters, path)


def _else_in_order(
    slots: list[TensorSlot], groups: dict[int, Names], parameters: Group, path: Path
) -> list[tuple[TensorSlot, Tensor]]:
    """Match by order where the indices are not those of layers, else raise the indices' error."""
    try:
        return _zipped(slots, parameters, path)
    except WeightsError:
        return _numbered(slots, groups, parameters, path)


def _zipped(
    slots: list[TensorSlot], parameters: Group, path: Path
) -> list[tuple[TensorSlot, Tensor]]:
    return list(_pairs(slots, parameters, path))


def _pairs(
    slots: list[TensorSlot], parameters: Group, path: Path
) -> Iterator[tuple[TensorSlot, Tensor]]:
    for slot, item in zip_longest(slots, parameters.items()):
        if slot is None:
            counts = f"{len(slots)} tensors expected, {len(parameters)} in the file"
            raise _unexpected(item[0], path, counts)
        if item is None:
            raise WeightsError(
                f"{path}: {slot}: {slot.shape} expected, nothing left in the file that could be it"
            )
        name, tensor = item
        _check_fit(slot, name, tensor, path)
        yield slot, tensor


def _unexpected(name: str, path: Path, why: str) -> WeightsError:
    return WeightsError(f"{path}: {name!r} is not expected: {why}; it belongs to another cfg")


def _check_fit(slot: TensorSlot, name: str, tensor: Tensor, path: Path) -> None:
    shape = tuple(tensor.shape)
    role, expected = _last(name), _last(slot.segment.name)
    if not slot.fits(shape):
        raise WeightsError(f"{path}: {slot}: {slot.shape} expected, {name!r} is {shape}")
    if role in ROLES and role != expected and slot.segment.kind not in LOOSE:
        raise WeightsError(f"{path}: {slot}: a {expected} expected, {name!r} is in its place")
