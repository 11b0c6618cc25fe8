"""The weights in a converted file, read without running it and compared with a network's.

One wrong weight of a million hardly changes the outputs, but it is seen here.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darknet_torch.extras import require
from darknet_torch.inference.engines import read_exported, read_openvino

__all__ = ["has_weights", "relative_error", "weight_errors"]

Named = tuple[str, Tensor]


def has_weights(path: Path) -> bool:
    """Return whether the weights in a file of that name can be read without running it."""
    return path.suffix.lower() in READERS and not path.name.lower().endswith(".aoti.pt2")


def weight_errors(path: Path, expected: Mapping[str, Tensor]) -> list[float]:
    """Return the error of each expected tensor that the file has; see `relative_error`.

    A tensor is matched by its name; in a file without names, such as TorchScript, the nearest with
    as many values is taken.
    """
    stored = [each for each in READERS[path.suffix.lower()](path) if each[1].numel()]
    named = dict(stored)
    errors = []
    for name, tensor in expected.items():
        candidates = [named[name]] if name in named else _unnamed(stored, tensor)
        if candidates:
            errors.append(min(relative_error(each.to(tensor.dtype), tensor) for each in candidates))
    return errors


def _unnamed(stored: list[Named], tensor: Tensor) -> list[Tensor]:
    """Return the tensors without a name that have as many values, in the tensor's shape."""
    count = tensor.numel()
    return [
        each.reshape(tensor.shape) for name, each in stored if not name and each.numel() == count
    ]


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest magnitude that is expected.

    Infinity where there is a NaN, or where the shapes differ.
    """
    if actual.shape != expected.shape:
        return float("inf")
    if not expected.numel() or torch.equal(actual, expected):
        return 0.0
    difference = (actual.double() - expected.double()).abs().max()
    error = difference / expected.double().abs().max().clamp_min(1e-30)
    return float(error) if torch.isfinite(error) else float("inf")


def _onnx(path: Path) -> Iterator[Named]:
    onnx = require("onnx", "onnx")
    for each in onnx.load(path).graph.initializer:
        yield each.name, torch.from_numpy(onnx.numpy_helper.to_array(each).copy())


def _openvino(path: Path) -> Iterator[Named]:
    model = read_openvino(path)
    for each in model.get_ops():
        if each.get_type_name() == "Constant":
            # in float16 files the name is that of the conversion to float32
            name = each.get_friendly_name().removesuffix("_compressed")
            yield name, torch.as_tensor(each.data.copy())


def _torch_export(path: Path) -> Iterator[Named]:
    yield from read_exported(path).state_dict.items()


def _torchscript(path: Path) -> Iterator[Named]:
    """Yield the constants of the graph, which hold the weights of frozen modules."""
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
"""Ending of a file -> the function that reads its tensors."""
