"""TensorFlow Lite, now LiteRT: .tflite for Android and small devices."""

import json
import zipfile
from pathlib import Path
from typing import Literal

from darknet_torch.exporters import torch_export
from darknet_torch.exporters.other_python import run, suitable_python
from darknet_torch.exporters.staging import made_beside
from darknet_torch.exporters.tracing import example
from darknet_torch.network import Network
from darknet_torch.network.origin import Origin

__all__ = ["write"]

TOLERANCE = 1e-4
"""Of the largest value of an output."""


def write(
    network: Network,
    path: Path,
    *,
    contents: Literal["raw", "boxes"] = "raw",
    python: str | None = None,
) -> None:
    """Write float32 for one picture of the cfg's size.

    Input (1, C, H, W) in 0..1, RGB, or (1, inputs); outputs as of ONNX, in that order. Metadata
    are metadata.json in a zip archive at the file's end, where TensorFlow Lite has such files.
    python: an interpreter that has litert_torch; see `elsewhere`. LiteRT runs what was made.
    Raises UsageError for what cannot be, where LiteRT's numbers are others, and where litert_torch
    is not installed.
    """
    python = suitable_python("litert_torch", "tflite", python)
    with made_beside(path) as folder:
        source, target = folder / "program.pt2", folder / path.name
        torch_export.write(
            network, source, contents=contents, dynamic_batch=False, dynamic_size=False
        )
        shape = list(example(network, batch=1).shape)
        files = {"source": str(source), "target": str(target)}
        run(python, convert, **files, shape=shape, tolerance=TOLERANCE)
        source.unlink()
        origin = Origin.of(network, contents=contents, dynamic_batch=False, dynamic_size=False)
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr("metadata.json", json.dumps(origin.to_text()))


def convert(source: str, target: str, shape: list[int], tolerance: float) -> None:
    """Convert a .pt2 file, and check; runs in the other Python."""
    import litert_torch
    import torch

    program = torch.export.load(source).run_decompositions({})  # without operators for training
    module = program.module()
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    made = litert_torch.convert(module, (images,))
    made.export(target)
    wanted, found = module(images), made(images)
    if isinstance(wanted, torch.Tensor):
        wanted, found = [wanted], [found]
    for number, (want, got) in enumerate(zip(wanted, found, strict=True)):
        want = want.detach().numpy()
        error = abs(got - want).max() / max(abs(want).max(), 1e-6)
        if not error <= tolerance:
            raise SystemExit(f"output {number} of LiteRT is {error:.1%} off from torch's")
