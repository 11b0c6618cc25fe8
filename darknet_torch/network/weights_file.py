"""The weights file: header, then float32 values, layer after layer in the order of the cfg.

    header                          16 or 20 bytes, see `weights_header`
    float32 ...                     the plan's segments in order, without gaps, to the file's end

If major or minor is above 1000, the matrices of connected layers are stored transposed.

The floats are read into one buffer, and its slices become the parameters.
"""

import os
import stat
import struct
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
from darknet_torch.network.forked import before_computing
from darknet_torch.network.network import Header, Network, tie_shared
from darknet_torch.network.plan import Plan
from darknet_torch.network.weights_header import header_bytes, read_header
from darknet_torch.network.weights_layout import FileSlot, file_slots, layer_count, readable

__all__ = ["initialize", "read", "write"]


def read(
    network: Network,
    path: str | PathLike[str],
    *,
    cutoff: int | None = None,
    partial: bool = False,
) -> None:
    """Fill a network from a weights file.

    Layers that are not in the file get random initial values. `network.loaded` becomes the number
    of layers that are, `network.header` the file's version and `seen`.

    Args:
        network: is not changed if there is an error.
        path: the file.
        cutoff: read only the first so many layers; the file may have more.
        partial: the file may end after any layer.

    Raises:
        WeightsError: the file cannot be read, is not a weights file, is too short or too long, or
            has values that are not finite or negative variances.
    """
    path = Path(path)
    before_computing()
    with _open(path) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise WeightsError(f"{path}: is not a regular file")
        size = status.st_size
        header, length = read_header(file, path, network.plan, size, cutoff)
        floats, layers = readable(network.plan, path, size - length, cutoff=cutoff, partial=partial)
        buffer = torch.from_numpy(np.empty(floats, dtype="<f4"))  # numpy requests huge pages
        _fill(file, buffer, path)
    slots = [
        slot
        for slot in file_slots(network.plan)
        if slot.segment.stored and slot.node.index < layers
    ]
    _check_values(buffer, slots, path)
    for slot in slots:
        _fill_tensor(network, slot, buffer, header)
    initialize(network, only_missing=True)
    network.header, network.loaded = header, layers


def write(network: Network, path: str | PathLike[str], *, cutoff: int | None = None) -> None:
    """Write the network's weights file, byte for byte as Darknet does; atomically.

    Args:
        network: its values are written in float32.
        path: the file.
        cutoff: write only the first so many layers (a backbone).

    Raises:
        WeightsError: the network has no values or not so many layers, or the file cannot be
            written.
    """
    path = Path(path)
    layers = layer_count(network.plan, cutoff)
    try:
        with atomic(path, WeightsError) as file:
            _write_all(network, file, layers)
    except (ValueError, struct.error) as error:
        raise WeightsError(f"{path}: cannot be written: {error}") from error


def initialize(network: Network, *, only_missing: bool = False) -> None:
    """Set the network's tensors to Darknet's random initial values.

    Args:
        network: the network.
        only_missing: set only tensors that have no values yet.
    """
    for slot in file_slots(network.plan):
        owner, name = _owner(network, slot)
        tensor = getattr(owner, name)
        if tensor.is_meta or not only_missing:
            _set(owner, name, slot.segment.initial(tuple(tensor.shape)))
    tie_shared(network)
    for module in network.layers.modules():
        if isinstance(module, nn.BatchNorm2d) and module.num_batches_tracked is not None:
            module.num_batches_tracked = torch.zeros((), dtype=torch.int64)


def _open(path: Path) -> FileIO:
    try:
        if path.is_dir():
            raise WeightsError(f"{path}: is a folder, not a file")
        if path.exists() and not path.is_file():  # a pipe may never end, or never begin
            raise WeightsError(f"{path}: is no plain file")
        return path.open("rb", buffering=0)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{path}: cannot be read: {reason}") from error


def _stored(plan: Plan) -> list[FileSlot]:
    return [slot for slot in file_slots(plan) if slot.segment.stored]


def _fill(file: FileIO, buffer: Tensor, path: Path) -> None:
    view = memoryview(buffer.numpy().data).cast("B")
    done = 0
    while done < len(view):
        count = file.readinto(view[done:])
        if not count:
            raise WeightsError(f"{path}: ended while it was read")
        done += count


def _check_values(buffer: Tensor, slots: list[FileSlot], path: Path) -> None:
    """Refuse values that no training yields; if the sum is finite, all values are."""
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


def _fill_tensor(network: Network, slot: FileSlot, buffer: Tensor, header: Header) -> None:
    """Make a slice of the buffer the parameter itself, where the file has it in the same layout."""
    segment = slot.segment
    values = buffer[slot.start : slot.start + segment.count]
    owner, name = _owner(network, slot)
    if _transposed(segment, header):
        values = values.view(-1, segment.shape[0]).t().contiguous()
    values = values.view(segment.shape)
    shape = tuple(getattr(owner, name).shape)
    if shape != segment.shape:  # numload: the other rows keep their initial values
        first, values = values, segment.initial(shape)
        values[: len(first)] = first
    _set(owner, name, values)


def _transposed(segment: Segment, header: Header) -> bool:
    return segment.flipped or (segment.connected and max(header.major, header.minor) > 1000)


def _owner(network: Network, slot: FileSlot) -> tuple[nn.Module, str]:
    path, _, name = slot.segment.name.rpartition(".")
    return network.layers[slot.node.index].get_submodule(path), name


def _set(owner: nn.Module, name: str, values: Tensor) -> None:
    parameter = isinstance(getattr(owner, name), nn.Parameter)
    setattr(owner, name, nn.Parameter(values) if parameter else values)


def _write_all(network: Network, file: BinaryIO, layers: int) -> None:
    file.write(header_bytes(network.header, network.plan.context.dialect))
    for slot in _stored(network.plan):
        if slot.node.index < layers:
            owner, name = _owner(network, slot)
            tensor = getattr(owner, name)
            if tensor.is_meta:
                raise WeightsError(f"{slot}: has no values yet")
            file.write(_file_bytes(tensor, slot.segment, network.header))


def _file_bytes(tensor: Tensor, segment: Segment, header: Header) -> memoryview:
    values = tensor.detach().to("cpu", torch.float32)[: segment.shape[0]]
    if _transposed(segment, header):
        values = values.reshape(segment.shape[0], -1).t()
    return memoryview(values.contiguous().numpy().data).cast("B")
