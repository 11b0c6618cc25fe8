"""A network's tensors in the files of PyTorch: .safetensors, and .pt or .pth of torch.save.

Our own files hold the tensors by the names `layers.12.conv.weight` (12: the number that Darknet
prints), and what is needed to make the network again: cfg, dialect, class names, and the header of
the weights file, so that `.weights` -> `.safetensors` -> `.weights` gives the same bytes.

A .safetensors has them as text in its metadata; a .pt is a dict of `state_dict` and the same keys,
`names` and `header` as lists: see `origin`. Files that a cfg names, such as a word tree, are not
inside; they are looked for beside the file. Files of other programs are read as `key_matching`
describes.
"""

import io
import pickle
import re
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import BinaryIO, cast

import torch
from torch import Tensor

from darknet_torch.errors import UsageError, WeightsError
from darknet_torch.extras import require
from darknet_torch.files import write_atomically
from darknet_torch.network import weights_file
from darknet_torch.network.key_matching import float32, match, tensor_slots
from darknet_torch.network.network import Network
from darknet_torch.network.origin import Origin
from darknet_torch.network.pickle_check import check_pickles

__all__ = ["Checkpoint", "fill", "has_ending", "open_file", "read", "read_origin", "write"]

ENDINGS = (".safetensors", ".pt", ".pth")
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "ema", "net", "network", "weights")
"""Keys under which ports keep the state dict; the first that exists is taken."""
MAX_WRAPPERS = 4
OLD_PICKLES = 5
"""Pickles at the start of a file of torch.save until 1.5; the values follow."""
MAX_USES = 4
"""How often the values of a file may be used, on average: layers may share tensors."""


@dataclass(frozen=True)
class Checkpoint:
    """An open file.

    Args:
        path: of the file.
        tensors: by name; still on the disk where the format allows.
        origin: the record of its network.
        ordered: whether the tensors' order is that in which they were written.
    """

    path: Path
    tensors: dict[str, Tensor]
    origin: Origin
    ordered: bool


def has_ending(path: str | PathLike[str]) -> bool:
    """Return whether a path has an ending of a checkpoint file."""
    return Path(path).suffix.lower() in ENDINGS


def write(network: Network, path: str | PathLike[str]) -> None:
    """Write a network's tensors in their own precision.

    Args:
        network: a network with values.
        path: its ending is the format, one of ENDINGS.

    Raises:
        UsageError: another ending, or safetensors is not installed.
        WeightsError: the network has no values yet, or the file cannot be written.
    """
    path = Path(path)
    if not has_ending(path):
        raise UsageError(f"{path}: the ending must be one of {', '.join(ENDINGS)}")
    tensors = _tensors_of(network)
    origin = Origin.of(network, dtype=str(network.dtype).removeprefix("torch."))
    if path.suffix.lower() == ".safetensors":
        metadata = {**origin.to_text(), "format": "pt"}
        content = require("safetensors.torch", "safetensors").save(tensors, metadata)
    else:
        content = _pickled(tensors, origin)
    write_atomically(path, content, WeightsError)


def read(network: Network, path: str | PathLike[str]) -> None:
    """Fill a network from a file of ours, or of a port with its parameters in the cfg's order.

    Values become float32. `network.header` is set to the header in the file's metadata, if any.
    After an error the network is unchanged.

    Raises:
        WeightsError: the file is damaged, or does not fit the network.
        UsageError: safetensors is not installed.
    """
    fill(network, open_file(path))


def read_origin(path: str | PathLike[str]) -> Origin:
    """Return the record of its network in a file: cfg text, dialect, names and more."""
    return open_file(path).origin


def open_file(path: str | PathLike[str]) -> Checkpoint:
    """Open a file; errors are those of `read`. No code in it is run."""
    path = Path(path)
    size = _size(path)
    if path.suffix.lower() == ".safetensors":
        return _open_safetensors(path)
    return _open_pickle(path, size)


def fill(network: Network, checkpoint: Checkpoint) -> None:
    """Fill a network from an open file; errors are those of `read`."""
    path = checkpoint.path
    pairs = match(network, checkpoint.tensors, path, ordered=checkpoint.ordered)
    _must_be_stored([tensor for _, tensor in pairs], path)
    values = {
        slot.name.removeprefix("layers."): float32(slot, tensor, path) for slot, tensor in pairs
    }
    network.layers.load_state_dict(values, strict=False, assign=True)
    # what layers share, and batch norm's counters
    weights_file.initialize(network, only_missing=True)
    network.header = checkpoint.origin.header
    network.loaded = len(network.plan)


def _must_be_stored(tensors: Sequence[Tensor], path: Path) -> None:
    """Refuse tensors that become far larger than their file: its values may be used often."""
    needed, size = sum(each.numel() * each.element_size() for each in tensors), path.stat().st_size
    if needed > MAX_USES * size:
        raise WeightsError(f"{path}: its tensors have {needed} bytes, and the file {size}")


def _tensors_of(network: Network) -> dict[str, Tensor]:
    state = network.state_dict()
    tensors = {}
    for slot in tensor_slots(network):
        tensor = state[slot.name]
        if tensor.is_meta:
            raise WeightsError(f"{slot}: has no values yet")
        # a copy: with a view, its whole buffer would be saved
        tensors[slot.name] = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
    return tensors


def _pickled(tensors: dict[str, Tensor], origin: Origin) -> bytes:
    text = origin.to_text()
    names = text["names"].split("\n") if origin.names else []
    content = {"state_dict": tensors, **text, "names": names, "header": list(origin.header)}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _size(path: Path) -> int:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{path}: cannot be read: {reason}") from error
    if stat.S_ISDIR(status.st_mode):
        raise WeightsError(f"{path}: is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise WeightsError(f"{path}: is no plain file")
    if not status.st_size:
        raise WeightsError(f"{path}: is empty")
    return status.st_size


def _open_safetensors(path: Path) -> Checkpoint:
    safetensors = require("safetensors", "safetensors")
    try:
        with safetensors.safe_open(str(path), "pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except Exception as error:  # it raises several kinds for damaged files
        raise WeightsError(f"{path}: is no safetensors file: {_line(error)}") from error
    return Checkpoint(path, tensors, Origin.from_text(metadata, path), ordered=False)


def _open_pickle(path: Path, size: int) -> Checkpoint:
    zipped = _is_plain_archive(path, size)
    try:
        _check_pickles(path, size, zipped=zipped)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # damaged files end in errors of every kind
        raise _unreadable(path, error) from error
    origin = Origin.from_text(content if isinstance(content, dict) else {}, path)
    return Checkpoint(path, _state_dict(content, path), origin, ordered=True)


def _is_plain_archive(path: Path, size: int) -> bool:
    """Return whether it is an archive, as files of torch.save are since 1.6; refuse packed ones."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # damaged directories end in errors of every kind
        raise WeightsError(f"{path}: is damaged: {_line(error)}") from error
    if any(each.filename.endswith("/constants.pkl") for each in members):
        raise WeightsError(
            f"{path}: is a TorchScript program; torch.save(module.state_dict(), ...) makes a file"
            f" of its tensors"
        )
    unpacked = sum(each.file_size for each in members)
    if unpacked > size or any(each.compress_type for each in members):
        raise WeightsError(f"{path}: is a packed archive; torch.save does not pack")
    return True


def _check_pickles(path: Path, size: int, *, zipped: bool) -> None:
    """Raise an error of any kind for a file that would take more memory than it has bytes."""
    if not zipped:
        with path.open("rb") as file:
            check_pickles(file, OLD_PICKLES, size)
        return
    with zipfile.ZipFile(path) as archive:
        names = [each for each in archive.namelist() if each.rpartition("/")[2] == "data.pkl"]
        if len(names) != 1:
            raise ValueError(f"{len(names)} members data.pkl, one expected")
        with archive.open(names[0]) as member:
            check_pickles(cast(BinaryIO, member), 1, size)


def _unreadable(path: Path, error: Exception) -> WeightsError:
    unknown = re.search(r"(?:GLOBAL|class|global:?) ([\w.]+\.[\w.]+)", str(error))
    if isinstance(error, pickle.UnpicklingError) and unknown:
        return WeightsError(
            f"{path}: holds more than tensors ({unknown[1]}), which is not run; where it was made,"
            f" torch.save(model.state_dict(), ...) saves the tensors alone"
        )
    return WeightsError(f"{path}: is no file of torch.save, or a damaged one: {_line(error)}")


def _line(error: Exception) -> str:
    """Return the first line of an error, shortened."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:200]


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    """Return the dict of tensors, which may be inside other dicts."""
    for _ in range(MAX_WRAPPERS):
        if not isinstance(content, dict):
            break
        tensors = {str(key): v for key, v in content.items() if isinstance(v, Tensor)}
        if tensors:
            if any(tensor.is_nested for tensor in tensors.values()):
                break
            return tensors
        content = next((content[key] for key in WRAPPERS if key in content), None)
    raise WeightsError(
        f"{path}: no dict of tensors in it; torch.save(model.state_dict(), ...) makes one"
    )
