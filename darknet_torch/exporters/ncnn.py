"""NCNN: .param with its .bin beside it, for telephones and small boards."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_torch.errors import UsageError
from darknet_torch.exporters.other_python import run, suitable_python
from darknet_torch.exporters.staging import must_not_replace, staging_folder
from darknet_torch.exporters.torchscript import save, traced_at_one_size
from darknet_torch.exporters.tracing import (
    Exported,
    example,
    output_names,
    prepared,
    with_plain_layers,
)
from darknet_torch.heads.base import Head
from darknet_torch.inference.metadata import append_origin
from darknet_torch.layers.base import Shape
from darknet_torch.network import Network
from darknet_torch.network.node import Node
from darknet_torch.network.origin import Origin
from darknet_torch.safety.temporary import temporary_folder

__all__ = ["write"]

TOLERANCE = {"float32": 1e-4, "float16": 2e-2}
"""Of the largest value; converted files that differ by more are refused."""
OF_SIZE = {"filters", "from", "layers", "output", "mask", "anchors", "num", "classes"}
"""Options that decide on sizes and wiring, and not on what a layer computes."""


class _Precision(TypedDict):
    """What `convert` needs besides the folders."""

    half: bool
    tolerance: float


def write(
    network: Network,
    path: Path,
    *,
    contents: Literal["raw", "boxes"] = "raw",
    dtype: Literal["float32", "float16"] = "float32",
    python: str | None = None,
) -> None:
    """Write X.param and X.bin, for one image of the cfg's size.

    The input is `images`, float32 (C, H, W) in 0..1, RGB, or (inputs,); the outputs have the names
    that ONNX files have, and no dimension of the batch. The record of `network/origin.py` is
    metadata.json in a zip archive at the end of X.bin, where NCNN does not look. NCNN runs the
    converted files, and its outputs are compared with the network's.

    Args:
        network: a Network with values.
        path: the .param file to write.
        contents: "raw" maps before the heads (`raw0`, `raw1` ...; the last layer's `output` where
            there is no head), or "boxes" (N, 4), xyxy in fractions of the input, with `scores`
            (N, classes).
        dtype: precision of the weights in the file.
        python: an interpreter that has pnnx and ncnn; None is that in the variable
            DARKNET_TORCH_CONVERTER_PYTHON, or this one.

    Raises:
        UsageError: the network cannot be exported, X.bin belongs to OpenVINO's X.xml, NCNN lacks a
            layer or computes other numbers, or a package is not installed.
    """
    must_not_replace(path, ".bin", ".xml")
    python = suitable_python("pnnx", "ncnn", python)
    if dtype not in TOLERANCE:
        raise UsageError(f"dtype={dtype}: must be float32 or float16")
    exported = prepared(network, contents)
    with_plain_layers(exported)
    settings: _Precision = {"half": dtype == "float16", "tolerance": TOLERANCE[dtype]}
    with staging_folder(path) as folder, temporary_folder(path) as build:
        _save_job(exported, [example(network, batch=1)], output_names(network, contents), build)
        if failure := _failure(python, [build], settings):
            raise UsageError(
                _layer_at_fault(exported, python, settings) or f"ncnn: {failure.reason}"
            )
        origin = Origin.of(
            network, contents=contents, dtype=dtype, dynamic_batch=False, dynamic_size=False
        )
        append_origin(build / "converted.bin", origin)
        (build / "converted.param").rename(folder / path.name)
        (build / "converted.bin").rename(folder / path.with_suffix(".bin").name)


def _save_job(
    module: nn.Module, inputs: Sequence[Tensor], names: Sequence[str], folder: Path
) -> None:
    """Save a trace, random inputs with the outputs that the check expects, and their names."""
    random = torch.Generator().manual_seed(0)
    values = [torch.rand(each.shape, generator=random) for each in inputs]
    with torch.no_grad():
        outputs = module(*values)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    save(traced_at_one_size(module, inputs), folder / "traced.pt")
    np.savez(folder / "sample.npz", *values, *outputs)
    inputs_of = ["images", *(f"images{number}" for number in range(1, len(values)))]
    (folder / "names.json").write_text(json.dumps([inputs_of, list(names)]))


def convert(builds: list[str], half: bool, tolerance: float) -> None:
    """Convert traced.pt of each folder, and check; runs in the other Python.

    The error begins with the number of the folder that fails.
    """
    import json
    import os
    import shutil
    import subprocess
    from importlib.util import find_spec
    from pathlib import Path

    import ncnn
    import numpy as np

    package = find_spec("pnnx")
    if package is None or package.origin is None:
        raise SystemExit("No module named 'pnnx'")
    # importing the package would import torch
    program = shutil.which("pnnx", path=str(Path(package.origin).parent)) or "pnnx"
    for build, folder in enumerate(builds):
        os.chdir(folder)
        sources, targets = json.loads(Path("names.json").read_text())
        with np.load("sample.npz") as sample:
            arrays = [sample[f"arr_{number}"] for number in range(len(sample.files))]
        inputs, expected = arrays[: len(sources)], arrays[len(sources) :]
        shapes = ",".join(f"[{','.join(map(str, each.shape))}]" for each in inputs)
        command = [program, "traced.pt", f"inputshape={shapes}", f"fp16={int(half)}"]
        files = ["ncnnparam=converted.param", "ncnnbin=converted.bin"]
        subprocess.run([*command, *files], capture_output=True)
        param = Path("converted.param")
        if not param.exists():
            raise SystemExit(f"{build}: pnnx could not convert it")
        rows = [line.split(" ") for line in param.read_text().splitlines()]
        if unknown := [row[0] for row in rows[2:] if "." in row[0] or ":" in row[0]]:
            raise SystemExit(f"{build}: NCNN has no layer for {unknown[0]}")
        new = {f"in{number}": name for number, name in enumerate(sources)}
        new |= {f"out{number}": name for number, name in enumerate(targets)}
        param.write_text("".join(" ".join(new.get(x, x) for x in row) + "\n" for row in rows))
        net = ncnn.Net()
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        if net.load_param("converted.param") or net.load_model("converted.bin"):
            raise SystemExit(f"{build}: NCNN cannot read what pnnx wrote")
        extractor = net.create_extractor()
        for name, each in zip(sources, inputs, strict=True):
            extractor.input(name, ncnn.Mat(each[0]).clone())
        for name, each in zip(targets, expected, strict=True):
            status, output = extractor.extract(name)
            output = np.array(output)
            if status or output.size != each.size:
                raise SystemExit(f"{build}: NCNN does not yield {name}")
            error = abs(output.reshape(each[0].shape) - each[0]).max() / max(abs(each).max(), 1e-6)
            if not error <= tolerance:
                raise SystemExit(f"{build}: NCNN computes {name} with an error of {error:.1%}")


class _Failure(NamedTuple):
    """Which folder cannot be converted, and why."""

    number: int
    reason: str


def _failure(python: str, builds: Sequence[Path], settings: _Precision) -> _Failure | None:
    """Convert and check what folders hold; return the first failure."""
    try:
        run(python, convert, builds=[str(build) for build in builds], **settings)
    except UsageError as error:
        if found := re.fullmatch(r"ncnn: (\d+): (.*)", str(error), re.DOTALL):
            return _Failure(int(found[1]), found[2])
        raise
    return None


def _layer_at_fault(exported: Exported, python: str, settings: _Precision) -> str | None:
    """Return what is wrong with the first layer that NCNN cannot run alone; None if it runs all."""
    alone = list(_alone(exported))
    with temporary_folder() as folder:
        builds = [folder / str(number) for number in range(len(alone))]
        for build, (node, module) in zip(builds, alone, strict=True):
            build.mkdir()
            inputs = [_zeros(shape) for shape in node.input_shapes]
            names = ["boxes", "scores"] if isinstance(module, _Decoded) else ["output"]
            _save_job(_BehindMaps(module), inputs, names, build)
        failure = _failure(python, builds, settings)
    return failure and str(alone[failure.number][0].layer.section.error(failure.reason))


def _alone(exported: Exported) -> Iterator[tuple[Node, nn.Module]]:
    """Yield the layers of an exported network, one of each kind, as modules of their own."""
    network, seen = exported.network, set()
    for node, module in zip(network.plan, network.layers, strict=True):
        options = node.layer.section.options
        kind = (node.name, *((o.key, o.value) for o in options if o.key not in OF_SIZE))
        if kind in seen or (node.index in network.plan.heads and exported.contents == "raw"):
            continue
        seen.add(kind)
        size = (network.plan.input.h, network.plan.input.w)
        yield node, _Decoded(node.layer, size) if isinstance(node.layer, Head) else module


class _BehindMaps(nn.Module):
    """A layer behind poolings that change nothing, which tell pnnx which axis is the batch."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        maps = [F.max_pool2d(x, 1) if x.dim() == 4 else x for x in inputs]
        result: Tensor | tuple[Tensor, ...] = self.module(*maps)
        return result


class _Decoded(nn.Module):
    """Boxes and scores of a head's raw map."""

    def __init__(self, head: Head, size: tuple[int, int]) -> None:
        super().__init__()
        self.head, self.size = head, size

    def forward(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        decoded = self.head.decode(raw, self.size)
        return decoded.boxes, decoded.scores


def _zeros(shape: Shape) -> Tensor:
    return torch.zeros(1, shape.c) if shape.is_vector else torch.zeros(1, *shape)
