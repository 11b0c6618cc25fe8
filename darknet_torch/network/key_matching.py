"""Which tensor of a file belongs where in a network: by the layers' numbers in the names, else by
their order.

Names of our own, `layers.12.conv.weight`, are taken as they stand. Files of other programs are
understood where their tensors are those of the cfg's layers, in one of two ways:

* the names hold the cfg's layer numbers behind a common start, whatever follows:
  `module_list.12.batch_norm_12.bias`, `models.12.conv1.weight`;
* the tensors stand in the order of the cfg, whatever they are called: of each layer the weight (and
  bias) of its product, then of its batch norm weight, bias, running_mean and running_var.

Shapes must fit exactly, and a name that ends in one of these words must stand where that is meant.
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

__all__ = ["Place", "float32", "match", "places"]

ROLES = ("weight", "bias", "running_mean", "running_var")
CONSTANTS = re.compile(r"num_batches_tracked|.*anchor.*|.*grid.*|strides?|masks?")
"""Last words of names of what a port keeps beside its parameters."""
LOOSE = ("shortcut_weights", "implicit_weights")
"""Kinds that ports keep with other axes of length 1."""
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

Group = dict[str, Tensor]
Names = dict[str, str]
"""A layer's names without what stands before them -> the whole names."""


class Place(NamedTuple):
    """A tensor of the network; its shape is the module's, which may have more rows than a file."""

    node: Node
    segment: Segment
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"layer {self.node.index} [{self.node.name}] {self.segment.kind}"

    @property
    def name(self) -> str:
        """Name in the network's state dict."""
        return f"layers.{self.node.index}.{self.segment.name}"

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Say whether a tensor of that shape can stand here."""
        if self.segment.kind not in LOOSE:
            return shape == self.shape
        return [side for side in shape if side != 1] == [side for side in self.shape if side != 1]


def places(network: Network) -> list[Place]:
    """Return the network's own tensors, in the order in which PyTorch's modules list them."""
    found = []
    for node in network.plan:
        segments = {segment.name: segment for segment in node.tensors}
        for name, tensor in network.layers[node.index].state_dict().items():
            if name in segments:
                found.append(Place(node, segments[name], tuple(tensor.shape)))
    return found


def match(
    network: Network, tensors: Mapping[str, Tensor], path: Path, *, ordered: bool = True
) -> list[tuple[Place, Tensor]]:
    """Return each place of the network with its tensor, as the file has it.

    ordered: whether the order of `tensors` means anything.
    Raises WeightsError that names the layer and the tensor that do not fit.
    """
    wanted = places(network)
    found = _without_copies(network, _parameters(tensors), path)
    groups = _by_number(found)
    numbers = {place.node.index for place in wanted}
    if not groups or len(numbers & groups.keys()) * 2 < len(numbers):
        return _in_order(wanted, found, path, ordered)
    try:
        return _numbered(wanted, groups, found, path)
    except WeightsError:
        if not ordered or numbers != groups.keys():
            raise
        return _else_in_order(wanted, groups, found, path)


def float32(place: Place, tensor: Tensor, path: Path) -> Tensor:
    """Return a tensor's values as the network keeps them, in memory of their own.

    Raises WeightsError for values that no training gives.
    """
    if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in FLOATS:
        kind = "without values" if tensor.is_meta else f"{tensor.layout}, {tensor.dtype}"
        raise WeightsError(f"{path}: {place}: plain 16, 32 or 64 bit floats wanted, not {kind}")
    values = tensor.detach().to("cpu", torch.float32, copy=True).reshape(place.shape).contiguous()
    if not torch.isfinite(values.sum()):  # the sum alone tells where all is well
        wrong = int((~torch.isfinite(values)).sum())
        if wrong:  # large values may add up to infinity
            raise WeightsError(f"{path}: {place}: {wrong} values are not finite")
    if place.segment.kind == "rolling_variance":
        lowest = float(values.min())
        if lowest < -torch.finfo(torch.float32).tiny:
            raise WeightsError(f"{path}: {place}: a variance cannot be {lowest:g}")
    return values


def _parameters(tensors: Mapping[str, Tensor]) -> Group:
    """Leave out counters and the constants that ports keep as buffers."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not CONSTANTS.fullmatch(_last(name))
    }


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _without_copies(network: Network, found: Group, path: Path) -> Group:
    """Leave out what a state dict says twice, of layers that share their tensors."""
    left, shapes = dict(found), network.state_dict()
    for node in network.plan:
        if node.shared is None:
            continue
        for segment in network.plan[node.shared].tensors:
            mine = f"layers.{node.index}.{segment.name}"
            theirs = found.get(f"layers.{node.shared}.{segment.name}")
            copy = left.pop(mine, None)
            if copy is not None and not _equal(copy, theirs, shapes[mine].shape):
                raise WeightsError(
                    f"{path}: layer {node.index} [{node.name}] {segment.kind}: must be those of"
                    f" layer {node.shared}, which it shares"
                )
    return left


def _equal(one: Tensor, other: Tensor | None, shape: torch.Size) -> bool:
    """Compare values; what could not be a network's tensors equals nothing."""
    if other is None or not one.shape == other.shape == shape or one.dtype != other.dtype:
        return False
    plain = all(each.layout == torch.strided and not each.is_meta for each in (one, other))
    return plain and torch.equal(one, other)


def _by_number(found: Group) -> dict[int, Names]:
    """Split names into what all begin with, a layer's number, and the rest; {} if they do not."""
    split = {name: name.split(".") for name in found}
    common = _common(list(split.values()))
    groups: dict[int, Names] = defaultdict(dict)
    for name, parts in split.items():
        number, *rest = parts[common:] or [""]
        if not re.fullmatch("[0-9]{1,6}", number):
            return {}
        groups[int(number)][".".join(rest)] = name
    return dict(groups)


def _common(split: list[list[str]]) -> int:
    """Return how many words all names begin with."""
    columns = enumerate(zip(*split, strict=False))
    most = min(map(len, split), default=0)
    return next((number for number, column in columns if len(set(column)) > 1), most)


def _numbered(
    wanted: list[Place], groups: dict[int, Names], found: Group, path: Path
) -> list[tuple[Place, Tensor]]:
    pairs: list[tuple[Place, Tensor]] = []
    left = dict(groups)
    for index, each in groupby(wanted, lambda place: place.node.index):
        mine = list(each)
        ordered = _conventional(mine, left.pop(index, {}), path)
        pairs += _zipped(mine, {name: found[name] for name in ordered}, path)
    for number, names in left.items():
        first = next(iter(names.values()))
        raise _unexpected(first, path, f"layer {number} has no tensors of its own")
    return pairs


def _conventional(mine: list[Place], names: Names, path: Path) -> list[str]:
    """Order a layer's tensors as PyTorch's modules do, whatever order the file has."""
    own = [place.segment.name for place in mine]
    if names.keys() == set(own):
        return [names[name] for name in own]
    parts = {name.rpartition(".")[0] for name in names}
    norms = {part for part in parts if f"{part}.running_var".lstrip(".") in names}
    if len(norms) > 1 or len(parts - norms) > 1:
        raise WeightsError(
            f"{path}: layer {mine[0].node.index} [{mine[0].node.name}]: {len(parts)} parts in the"
            f" file; only the names {', '.join(own)} would tell which is which"
        )
    return [names[name] for name in sorted(names, key=lambda name: _rank(name, norms))]


def _rank(name: str, norms: set[str]) -> tuple[bool, int]:
    part, _, role = name.rpartition(".")
    return part in norms, ROLES.index(role) if role in ROLES else 0


def _in_order(
    wanted: list[Place], found: Group, path: Path, ordered: bool
) -> list[tuple[Place, Tensor]]:
    if not ordered and {place.name for place in wanted} != found.keys():
        raise WeightsError(
            f"{path}: the tensors' names must hold the numbers of the cfg's layers, such as"
            f" layers.12.conv.weight, since this format keeps no order;"
            f" {next(iter(found), 'none')!r} does not"
        )
    if not ordered:
        found = {place.name: found[place.name] for place in wanted}
    return _zipped(wanted, found, path)


def _else_in_order(
    wanted: list[Place], groups: dict[int, Names], found: Group, path: Path
) -> list[tuple[Place, Tensor]]:
    """Take numbers that are no layers' for an order; if that fails too, tell what they lack."""
    try:
        return _zipped(wanted, found, path)
    except WeightsError:
        return _numbered(wanted, groups, found, path)


def _zipped(wanted: list[Place], found: Group, path: Path) -> list[tuple[Place, Tensor]]:
    return list(_pairs(wanted, found, path))


def _pairs(wanted: list[Place], found: Group, path: Path) -> Iterator[tuple[Place, Tensor]]:
    for place, item in zip_longest(wanted, found.items()):
        if place is None:
            raise _unexpected(item[0], path, f"{len(wanted)} tensors wanted, {len(found)} found")
        if item is None:
            raise WeightsError(
                f"{path}: {place}: {place.shape} wanted, nothing left in the file that could be it"
            )
        name, tensor = item
        _must_fit(place, name, tensor, path)
        yield place, tensor


def _unexpected(name: str, path: Path, why: str) -> WeightsError:
    return WeightsError(f"{path}: {name!r} is not expected: {why}; it belongs to another cfg")


def _must_fit(place: Place, name: str, tensor: Tensor, path: Path) -> None:
    shape = tuple(tensor.shape)
    role, meant = _last(name), _last(place.segment.name)
    if not place.fits(shape):
        raise WeightsError(f"{path}: {place}: {place.shape} wanted, {name!r} is {shape}")
    if role in ROLES and role != meant and place.segment.kind not in LOOSE:
        raise WeightsError(f"{path}: {place}: a {meant} wanted, {name!r} stands in its place")
