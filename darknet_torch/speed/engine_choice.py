"""The fastest engine for a network on this machine, measured once and kept in the cache.

network = with_engine(load("yolov4-tiny"), "auto")
"""

import hashlib
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darknet_torch import zoo
from darknet_torch.errors import UsageError
from darknet_torch.exporters.export import export
from darknet_torch.files import is_file, write_atomically
from darknet_torch.inference import engines
from darknet_torch.inference.converted import Converted
from darknet_torch.inference.engines import ENGINES
from darknet_torch.inference.metadata import read_origin
from darknet_torch.network import Network
from darknet_torch.safety.temporary import temporary_file, temporary_folder

__all__ = ["choose", "with_engine"]

CHOICES = ("auto", "torch", "onnxruntime", "openvino", "opencv")
ROUNDS = 5
DISTRIBUTIONS = {"cv2": "opencv-python-headless"}


def with_engine(network: Network, engine: str, batch: int = 1) -> Network | Converted:
    """Return the network as an engine runs it; its ONNX file is kept in the cache.

    Args:
        network: a Network with values.
        engine: "torch" (the network itself), "onnxruntime", "openvino", "opencv", or "auto": the
            one that `choose` returns.
        batch: number of images in a batch, for "auto".

    Raises:
        UsageError: there is no such engine, or it is not installed.
    """
    if engine not in CHOICES:
        raise UsageError(f"engine {engine}: must be one of {', '.join(CHOICES)}")
    name = choose(network, batch) if engine == "auto" else engine
    return network if name == "torch" else _converted(network, name)


def choose(network: Network, batch: int = 1, *, again: bool = False) -> str:
    """Return the fastest installed engine, and keep the result in the cache.

    A result holds for the same weights, size of input, number of threads and versions.

    Args:
        network: a Network with values.
        batch: number of images in a batch.
        again: measure although the cache has a result.
    """
    cache, key = _folder() / "engines.json", _key(network, batch)
    known = _cached(cache)
    if key not in known or again:
        known[key] = _fastest(network, batch)
        if _can_be_written(cache.parent):
            write_atomically(cache, json.dumps(known, indent=1))
    return known[key]


def _cached(cache: Path) -> dict[str, str]:
    """Return the results in the cache; none if the file is damaged."""
    try:
        known = json.loads(cache.read_text()) if is_file(cache) else {}
    except ValueError:
        return {}
    is_valid = isinstance(known, dict) and all(each in CHOICES for each in known.values())
    return known if is_valid else {}


def _fastest(network: Network, batch: int) -> str:
    """Run all engines in turns and return the one with the smallest median."""
    if network.stateful:
        return "torch"  # the other engines keep no state
    runners: dict[str, Callable[[Tensor], Any]] = {"torch": network}
    for name in CHOICES[2:]:
        if engines.installed(name):
            runners[name] = _converted(network, name)
    shape = network.plan.input
    x = torch.rand(batch, *((shape.c,) if shape.is_vector else shape))
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(ROUNDS + 1):
        for name, run in runners.items():
            seconds[name].append(_seconds(run, x))
    return min(seconds, key=lambda name: statistics.median(seconds[name][1:]))


@torch.inference_mode()
def _seconds(run: Callable[[Tensor], Any], x: Tensor) -> float:
    start = time.perf_counter()
    run(x)
    return time.perf_counter() - start


def _converted(network: Network, engine: str) -> Converted:
    path = _folder() / f"{_digest(network)}.onnx"
    if is_file(path) or _can_be_written(path.parent):
        return _started(network, path, engine)
    with temporary_folder() as folder:  # once it has started, an engine needs the file no more
        return _started(network, folder / path.name, engine)


def _started(network: Network, path: Path, engine: str) -> Converted:
    if not is_file(path):
        export(network, path)
    return Converted(path, network.plan, network.names, engine, read_origin(path))


def _folder() -> Path:
    return zoo.cache_dir() / "engines"


def _can_be_written(folder: Path) -> bool:
    """Return whether files can be made in a folder, which is made if there is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_file(folder / "x") as (_, handle):
            os.close(handle)
    except OSError:
        return False
    return True


def _key(network: Network, batch: int) -> str:
    installed = {"torch": torch.__version__} | {
        name: packages.version(DISTRIBUTIONS.get(each.package, each.package))
        for name, each in ENGINES.items()
        if name != "torch" and engines.installed(name)
    }
    versions = ", ".join(f"{name} {version}" for name, version in installed.items())
    threads = torch.get_num_threads()
    size = network.plan.input
    return f"{_digest(network)} {size} batch {batch} threads {threads} {versions}"


def _digest(network: Network) -> str:
    """Return a digest of the cfg, the dialect and all values."""
    digest = hashlib.sha256(f"{network.plan.context.dialect.name}\n{network.plan.text}".encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()[:32]
