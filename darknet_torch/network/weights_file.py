"""The weights file: header, then float32 values, layer after layer in the order of the cfg.

    int32 major, minor, revision    little endian
    int32 or int64 seen             64 bits from version 0.2 on (the dialect knows exceptions)
    float32 ...                     the plan's segments, in order, nothing between or behind them

Where major or minor is above 1000, the matrices of connected layers are stored transposed.

The floats are read into one buffer, whose slices become the parameters.
"""

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from darknet_torch.errors import WeightsError
from darknet_torch.files import atomic
from darknet_torch.layers.base import Segment
from darknet_torch.network.network import Header, Network
from darknet_torch.network.plan import Node, Plan
from darknet_torch.parsing.dialect import Dialect

__all__ = ["initialize", "read", "read_header", "write"]


@dataclass(frozen=True)
class _Slot:
    """One tensor of the network: whose it is, what it is, where it starts in the file's floats."""

    node: Node
    segment: Segment
    start: int

    def __str__(self) -> str:
        return f"layer {self.node.index} [{self.node.name}] {self.segment.kind}"


def read(
    network: Network,
    path: str | PathLike[str],
    *,
    cutoff: int | None = None,
    partial: bool = False,
) -> None:
    """Fill a network from a weights file.

    cutoff: read only the first so many layers, whatever stands behind them.
    partial: the file may end after any layer.
    Layers that the file does not reach get random start values; `network.loaded` says how many
    it did reach, `network.header` keeps version and `seen`.

    Raises WeightsError, in one line, for a file that is none, too short, too long, or whose
    values cannot be: nothing of the network is changed then.
    """
    path = Path(path)
    with _open(path) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise WeightsError(f"{path}: is no plain file")
        size = status.st_size
        header, header_bytes = read_header(file, path, network.plan.context.dialect)
        floats, layers = _extent(network.plan, path, size, header_bytes, cutoff, partial)
        buffer = torch.from_numpy(np.empty(floats, dtype="<f4"))  # numpy asks for huge pages
        _fill(file, buffer, path)
    slots = [
        slot for slot in _slots(network.plan) if slot.segment.stored and slot.node.index < layers
    ]
    _must_be_finite(buffer, slots, path)
    for slot in slots:
        _place(network, slot, buffer, header)
    initialize(network, only_missing=True)
    network.header, network.loaded = header, layers


def write(network: Network, path: str | PathLike[str], *, cutoff: int | None = None) -> None:
    """Write the network's weights file, byte for byte as Darknet would; atomically.

    cutoff: only the first so many layers (a backbone). Raises WeightsError if it cannot be.
    """
    path = Path(path)
    layers = _cutoff(network.plan, cutoff)
    try:
        with atomic(path) as file:
            _write_all(network, file, layers)
    except (OSError, ValueError, struct.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{path}: cannot be written: {reason}") from error


def initialize(network: Network, *, only_missing: bool = False) -> None:
    """Give the network's tensors (or those without values yet) Darknet's random start values."""
    for slot in _slots(network.plan):
        owner, name = _owner(network, slot)
        tensor = getattr(owner, name)
        if tensor.is_meta or not only_missing:
            _set(owner, name, slot.segment.initial(tuple(tensor.shape)))
    for node in network.plan:
        if node.shared is not None:
            node.layer.tie(network.layers[node.index], network.layers[node.shared])
    for module in network.layers.modules():
        if isinstance(module, nn.BatchNorm2d) and module.num_batches_tracked is not None:
            module.num_batches_tracked = torch.zeros((), dtype=torch.int64)


def read_header(file: FileIO, path: Path, dialect: Dialect) -> tuple[Header, int]:
    """Read the header; return it with its length in bytes (16 or 20)."""
    start = file.read(20)
    _must_be_weights(start, path)
    major, minor, revision = struct.unpack("<iii", start[:12])
    wide = dialect.seen_is_wide(major, minor)
    length = 20 if wide else 16
    if len(start) < length:
        raise WeightsError(
            f"{path}: ends inside its header: {length} bytes wanted, {len(start)} found"
        )
    (seen,) = struct.unpack("<Q" if wide else "<I", start[12:length])
    file.seek(length)
    return Header(major, minor, revision, seen), length


def _must_be_weights(start: bytes, path: Path) -> None:
    if not start:
        raise WeightsError(f"{path}: is empty")
    if len(start) < 16:
        raise WeightsError(f"{path}: ends inside its header: 16 bytes wanted, {len(start)} found")
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        kind = "a web page" if start.lstrip().startswith(b"<") else "a text"
        raise WeightsError(f"{path}: is {kind}, not a weights file; download it again")
    major, minor, revision = struct.unpack("<iii", start[:12])
    if not all(0 <= number <= 10_000 for number in (major, minor, revision)):
        raise WeightsError(
            f"{path}: is no weights file: its version would be {major}.{minor}.{revision}"
        )


def _open(path: Path) -> FileIO:
    try:
        if path.is_dir():
            raise WeightsError(f"{path}: is a folder, not a file")
        return path.open("rb", buffering=0)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{path}: cannot be read: {reason}") from error


def _cutoff(plan: Plan, cutoff: int | None) -> int:
    if cutoff is None:
        return len(plan)
    if not 0 < cutoff <= len(plan):
        raise WeightsError(f"cutoff={cutoff}: the network has layers 1 to {len(plan)}")
    return cutoff


def _slots(plan: Plan) -> Iterator[_Slot]:
    start = 0
    for node in plan:
        for segment in node.tensors:
            yield _Slot(node, segment, start)
            start += segment.count if segment.stored else 0


def _extent(
    plan: Plan, path: Path, size: int, header_bytes: int, cutoff: int | None, partial: bool
) -> tuple[int, int]:
    """Return how many floats to read and how many layers they reach; refuse a wrong size."""
    found, rest = divmod(size - header_bytes, 4)
    layers = _cutoff(plan, cutoff)
    wanted = sum(node.floats for node in plan.nodes[:layers])
    if found < wanted:
        if not partial:
            raise _too_short(plan, path, found, wanted)
        layers, wanted = _reached(plan, path, found), found
    if cutoff is None and (found > wanted or rest):
        more = f" and {rest} bytes" if rest else ""
        raise WeightsError(
            f"{path}: too long: the network wants {wanted} floats, the file has {found}{more};"
            f" it belongs to another cfg (or cutoff=N reads only the first N layers)"
        )
    return wanted, layers


def _too_short(plan: Plan, path: Path, found: int, wanted: int) -> WeightsError:
    slot = _slot_at(plan, found)
    if found == 0 or (slot.start == found and slot.segment is slot.node.segments[0]):
        hint = f"ends before it; partial=True or cutoff={slot.node.index} takes the layers before"
    else:
        hint = "it belongs to another cfg or is damaged"
    return WeightsError(
        f"{path}: {slot}: {slot.segment.count} floats wanted, {found - slot.start} left in the"
        f" file; {hint} (the network wants {wanted} floats in all, the file has {found})"
    )


def _slot_at(plan: Plan, position: int) -> _Slot:
    """The segment in which, or before which, the file ends."""
    return next(
        slot
        for slot in _slots(plan)
        if slot.segment.stored and slot.start + slot.segment.count > position
    )


def _reached(plan: Plan, path: Path, found: int) -> int:
    """Return how many layers a partial file holds; it must end between two of them."""
    slot = _slot_at(plan, found)
    if slot.start != found or slot.segment is not slot.node.segments[0]:
        raise WeightsError(
            f"{path}: {slot}: {slot.segment.count} floats wanted, {found - slot.start} left in the"
            f" file; a partial file must end behind a layer (cutoff={slot.node.index} stops there)"
        )
    return slot.node.index


def _fill(file: FileIO, buffer: Tensor, path: Path) -> None:
    view = memoryview(buffer.numpy().data).cast("B")
    done = 0
    while done < len(view):
        count = file.readinto(view[done:])
        if not count:
            raise WeightsError(f"{path}: ended while it was read")
        done += count


def _must_be_finite(buffer: Tensor, slots: list[_Slot], path: Path) -> None:
    """Refuse values that no training gives; one sum tells whether to look closer."""
    suspect = not torch.isfinite(buffer.sum())
    for slot in slots:
        variance = slot.segment.kind == "rolling_variance"
        if not suspect and not variance:
            continue
        values = buffer[slot.start : slot.start + slot.segment.count]
        if suspect and not (finite := torch.isfinite(values)).all():
            raise WeightsError(f"{path}: {slot}: {int((~finite).sum())} values are not finite")
        if variance and (lowest := float(values.min())) < -torch.finfo(torch.float32).tiny:
            raise WeightsError(f"{path}: {slot}: a variance cannot be {lowest:g}")


def _place(network: Network, slot: _Slot, buffer: Tensor, header: Header) -> None:
    """Make a slice of the buffer the parameter itself where the file keeps it as it is used."""
    segment = slot.segment
    values = buffer[slot.start : slot.start + segment.count]
    owner, name = _owner(network, slot)
    if _transposed(segment, header):
        values = values.view(-1, segment.shape[0]).t().contiguous()
    values = values.view(segment.shape)
    whole = tuple(getattr(owner, name).shape)
    if whole != segment.shape:  # numload: the rest keeps its start values
        first, values = values, segment.initial(whole)
        values[: len(first)] = first
    _set(owner, name, values)


def _transposed(segment: Segment, header: Header) -> bool:
    return segment.flipped or (segment.connected and max(header.major, header.minor) > 1000)


def _owner(network: Network, slot: _Slot) -> tuple[nn.Module, str]:
    path, _, name = slot.segment.name.rpartition(".")
    return network.layers[slot.node.index].get_submodule(path), name


def _set(owner: nn.Module, name: str, values: Tensor) -> None:
    if name in owner._buffers:
        owner._buffers[name] = values
    else:
        owner.register_parameter(name, nn.Parameter(values))


def _write_all(network: Network, file: BinaryIO, layers: int) -> None:
    file.write(_header_bytes(network.header, network.plan.context.dialect))
    for slot in _slots(network.plan):
        if slot.segment.stored and slot.node.index < layers:
            owner, name = _owner(network, slot)
            tensor = getattr(owner, name)
            if tensor.is_meta:
                raise WeightsError(f"{slot}: has no values yet")
            file.write(_file_bytes(tensor, slot.segment, network.header))


def _header_bytes(header: Header, dialect: Dialect) -> bytes:
    wide = dialect.seen_is_wide(header.major, header.minor)
    return struct.pack("<iiiQ" if wide else "<iiiI", *header)


def _file_bytes(tensor: Tensor, segment: Segment, header: Header) -> memoryview:
    values = tensor.detach().to("cpu", torch.float32)[: segment.shape[0]]
    if _transposed(segment, header):
        values = values.reshape(segment.shape[0], -1).t()
    return memoryview(values.contiguous().numpy().data).cast("B")
