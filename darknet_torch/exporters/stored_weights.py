"""The weights inside a converted file, read without running it, compared with a network's.

One wrong weight of a million hardly shows in the outputs; here it does.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darknet_torch.extras import require
from darknet_torch.inference.engines import read_exported, read_openvino

__all__ = ["apart", "has_weights", "weights_apart"]

Named = tuple[str, Tensor]


def has_weights(path: Path) -> bool:
    """Return whether the weights in a file of that name can be read without running it."""
    return path.suffix.lower() in READERS and not path.name.lower().endswith(".aoti.pt2")


def weights_apart(path: Path, expected: Mapping[str, Tensor]) -> list[float]:
    """Return how far each tensor of a file is from the one expected; of those that it has.

    A tensor is found by its name; in a file without names, such as TorchScript, the nearest with
    as many values is taken. Differences are relative to the largest magnitude expected.
    """
    stored = [each for each in READERS[path.suffix.lower()](path) if each[1].numel()]
    named = dict(stored)
    errors = []
    for name, tensor in expected.items():
        candidates = [named[name]] if name in named else _nameless(stored, tensor)
        if candidates:
            errors.append(min(apart(each.to(tensor.dtype), tensor) for each in candidates))
    return errors


def _nameless(stored: list[Named], tensor: Tensor) -> list[Tensor]:
    """Return the tensors without a name that have as many values, in the tensor's shape."""
    count = tensor.numel()
    return [
        each.reshape(tensor.shape) for name, each in stored if not name and each.numel() == count
    ]


def apart(got: Tensor, want: Tensor) -> float:
    """Return the largest difference, relative to the largest magnitude of `want`.

    Infinity where there is a NaN, or where the shapes differ.
    """
    if got.shape != want.shape:
        return float("inf")
    if not want.numel() or torch.equal(got, want):
        return 0.0
    error = (got.double() - want.double()).abs().max() / want.double().abs().max().clamp_min(1e-30)
    return float(error) if torch.isfinite(error) else float("inf")


def _onnx(path: Path) -> Iterator[Named]:
    onnx = require("onnx", "onnx")
    for each in onnx.load(path).graph.initializer:
        yield each.name, torch.from_numpy(onnx.numpy_helper.to_array(each).copy())


def _openvino(path: Path) -> Iterator[Named]:
    model = read_openvino(path)
    for each in model.get_ops():
        if each.get_type_name() == "Constant":
            # in float16 files a name goes to what makes it float32 again
            name = each.get_friendly_name().removesuffix("_compressed")
            yield name, torch.as_tensor(each.data.copy())


def _torch_export(path: Path) -> Iterator[Named]:
    yield from read_exported(path).state_dict.items()


def _torchscript(path: Path) -> Iterator[Named]:
    """Frozen modules have their weights as constants of the graph."""
    graph = torch.jit.load(str(path)).inlined_graph  # nodes live as long as their graph
    for node in graph.findAllNodes("prim::Constant"):
        value: Any = node.output().toIValue()
        if isinstance(value, Tensor):
            yield "", value


READERS: dict[str, Callable[[Path], Iterator[Named]]] = {
    ".onnx": _onnx,
    ".xml": _openvino,
    ".pt2": _torch_export,
    ".torchscript": _torchscript,
    ".ts": _torchscript,
}
"""Ending of a file -> what reads its numbers."""
