"""The whole state of a training in one file, so that it can go on as if it had never stopped.

    network.NAME               parameters and buffers
    optimizer.INDEX.NAME       momentum, moments and steps of each parameter
    ema.NAME                   the averaged network
    generator.NAME             states of random number generators
    kept.NAME                  what else is kept, such as the state of recurrent layers

are tensors of a .safetensors file; all else is JSON in its metadata. As it is one file, which gets
its name when it is complete, its parts always belong together, whenever the program is killed.
"""

import json
import random
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from darknet_torch.errors import UsageError, WeightsError
from darknet_torch.extras import require
from darknet_torch.files import write_atomically
from darknet_torch.network.network import Network
from darknet_torch.safety.text import first_line
from darknet_torch.training.state_checks import (
    matching,
    must_be,
    must_equal,
    optimizer_state,
    part_of,
)

__all__ = ["load", "read", "save"]

VERSION = 1
KEY = "darknet_torch.training"
NO_GENERATORS: Mapping[str, torch.Generator] = {}
NOTHING: Mapping[str, Tensor] = {}


def save(
    path: str | PathLike[str],
    network: Network,
    optimizer: Optimizer,
    ema: AveragedModel | None,
    extra: Mapping[str, Any],
    *,
    fingerprint: Mapping[str, Any] | None = None,
    generators: Mapping[str, torch.Generator] = NO_GENERATORS,
    kept: Mapping[str, Tensor] = NOTHING,
) -> None:
    """Write the state: afterwards the file is complete and on the disk, or is as it was before.

    The states of torch's and Python's own random numbers are part of it.

    Args:
        path: the .safetensors file.
        network: the network that is trained.
        optimizer: of its parameters.
        ema: the averaged network, if there is one.
        extra: what else belongs to it, in types that JSON has: batch number, position of the
            sampler, rows of the chart, best mAP ...
        fingerprint: what has to be the same when it goes on, in types that JSON has: cfg, data set,
            options.
        generators: random number generators in use, by name.
        kept: more tensors, by name.

    Raises:
        UsageError: the file cannot be written, such as on a full disk, or safetensors is not
            installed.
    """
    own = {**_own_generators(), **{name: each.get_state() for name, each in generators.items()}}
    tensors = _tensors(network, optimizer, ema)
    tensors |= {f"generator.{name}": state for name, state in own.items()}
    tensors |= {f"kept.{name}": each for name, each in kept.items()}
    about = {
        "version": VERSION,
        "extra": dict(extra),
        "fingerprint": dict(fingerprint or {}),
        "trained": _trained(network, optimizer),
        "random": random.getstate(),
    }
    metadata = {KEY: json.dumps(about)}
    content = require("safetensors.torch", "train").save(_plain(tensors), metadata)
    write_atomically(path, content)


def read(path: str | PathLike[str]) -> dict[str, Any]:
    """Return what `save` was given as `extra`, without the tensors.

    Raises:
        WeightsError: the file is damaged, or is no state of a training.
        UsageError: safetensors is not installed.
    """
    extra: dict[str, Any] = _about(Path(path), _open(Path(path)))["extra"]
    return extra


def load(
    path: str | PathLike[str],
    network: Network,
    optimizer: Optimizer,
    ema: AveragedModel | None,
    *,
    fingerprint: Mapping[str, Any] | None = None,
    generators: Mapping[str, torch.Generator] = NO_GENERATORS,
    kept: dict[str, Tensor] | None = None,
) -> dict[str, Any]:
    """Put a state back, and return what `save` was given as `extra`.

    Everything is checked before anything is changed.

    Args:
        path: what `save` wrote.
        network: a network of the same cfg; its tensors are overwritten.
        optimizer: of its parameters, made as before.
        ema: the averaged network, if there was one.
        fingerprint: as for `save`.
        generators: as for `save`; one that the file has not stays as it is.
        kept: is filled with what `save` was given.

    Raises:
        WeightsError: the file is damaged, or is no state of a training.
        UsageError: it is the state of another training, and what differs; or safetensors is not
            installed.
    """
    path = Path(path)
    file = _open(path)
    about = _about(path, file)
    must_equal(path, about["fingerprint"], _as_json(fingerprint or {}))
    if about["trained"] != _trained(network, optimizer):
        raise UsageError(f"{path}: is the state of a training of other layers (such as freeze)")
    tensors = _read(path, file)
    network_state = matching(path, tensors, "network", network.state_dict())
    ema_state = matching(path, tensors, "ema", {} if ema is None else ema.state_dict())
    momentum = optimizer_state(path, tensors, optimizer)
    states = _generator_states(path, tensors, generators)
    network.load_state_dict(network_state)
    if ema is not None:
        ema.load_state_dict(ema_state)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": momentum, "param_groups": groups})
    _restore(path, states, generators, about["random"])
    if kept is not None:
        kept |= part_of(tensors, "kept")
    extra: dict[str, Any] = about["extra"]
    return extra


def _tensors(
    network: Network, optimizer: Optimizer, ema: AveragedModel | None
) -> dict[str, Tensor]:
    """Return all tensors of a training, by their name in the file."""
    tensors = {f"network.{name}": each for name, each in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        found = {name: each for name, each in state.items() if isinstance(each, Tensor)}
        tensors |= {f"optimizer.{index}.{name}": each for name, each in found.items()}
    if ema is not None:
        tensors |= {f"ema.{name}": each for name, each in ema.state_dict().items()}
    return tensors


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the processor: safetensors has no tensors that share memory."""
    return {name: each.detach().to("cpu", copy=True).contiguous() for name, each in tensors.items()}


def _trained(network: Network, optimizer: Optimizer) -> list[str]:
    """Return the names of the parameters in the optimizer, in its order."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    return [names[id(parameter)] for parameter in parameters]


def _own_generators() -> dict[str, Tensor]:
    states = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda{n}": each for n, each in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _open(path: Path) -> Any:
    safetensors = require("safetensors", "train")
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    try:
        return safetensors.safe_open(str(path), "pt", device="cpu")
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: is no state of a training: {first_line(error)}") from error


def _about(path: Path, file: Any) -> dict[str, Any]:
    """Return the JSON of a state, with all its keys.

    Raises:
        WeightsError: there is none, or it is of another version.
    """
    try:
        about = json.loads((file.metadata() or {})[KEY])
        version = about["version"]
        kinds = {"extra": dict, "fingerprint": dict, "trained": list, "random": list}
        valid = all(isinstance(about[key], kind) for key, kind in kinds.items())
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: is no state of a training") from error
    if version != VERSION or not valid:
        raise WeightsError(f"{path}: is a state of a training of another version of darknet_torch")
    return dict(about)


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _read(path: Path, file: Any) -> dict[str, Tensor]:
    try:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors raises several kinds for damaged files
        raise WeightsError(f"{path}: is damaged: {first_line(error)}") from error


def _generator_states(
    path: Path, tensors: Mapping[str, Tensor], generators: Mapping[str, torch.Generator]
) -> dict[str, Tensor]:
    """Return the states of random number generators that are in use and in the file."""
    own = {**_own_generators(), **{name: each.get_state() for name, each in generators.items()}}
    found = part_of(tensors, "generator")
    used = {name: found[name] for name in own if name in found}
    for name, state in used.items():
        must_be(path, f"generator.{name}", state, own[name])
    return used


def _restore(
    path: Path,
    states: Mapping[str, Tensor],
    generators: Mapping[str, torch.Generator],
    of_python: Any,
) -> None:
    try:
        version, numbers, normal = of_python
        random.setstate((version, tuple(numbers), normal))
        for name, state in states.items():
            if name in generators:
                generators[name].set_state(state)
            elif name == "torch":
                torch.set_rng_state(state)
            else:
                torch.cuda.set_rng_state(state, int(name.removeprefix("cuda")))
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: its states of random numbers are damaged") from error
