"""TensorFlow Lite, now LiteRT: .tflite for Android and small devices."""

from os import PathLike
from pathlib import Path
from typing import Literal

from darknet_torch.exporters import torch_export
from darknet_torch.exporters.calibration import calibration_of, read_samples
from darknet_torch.exporters.int8 import quantize
from darknet_torch.exporters.int8_tflite import TfliteQuantizer
from darknet_torch.exporters.other_python import run, suitable_python
from darknet_torch.exporters.staging import staging_folder
from darknet_torch.exporters.tracing import example, output_names
from darknet_torch.inference.metadata import append_origin
from darknet_torch.loading import load
from darknet_torch.network import Network, Runnable
from darknet_torch.network.origin import Origin

__all__ = ["write"]

TOLERANCE = 1e-4
"""Largest error of an output, relative to its largest magnitude."""


def write(
    network: Network,
    path: Path,
    *,
    contents: Literal["raw", "boxes"] = "raw",
    int8: str | PathLike[str] | None = None,
    calibration: Literal["percentile", "minmax", "entropy"] = "percentile",
    calibration_images: int = 128,
    max_drop: float = 1.0,
    python: str | None = None,
) -> None:
    """Write a model for one image of the cfg's size; LiteRT runs it once, for a comparison.

    The input is `images`, (1, C, H, W) in 0..1, RGB, or (1, inputs); the outputs are those of ONNX,
    under their names in the file's one signature. The record of `network/origin.py` is
    metadata.json in a zip archive at the file's end, where TensorFlow Lite keeps such files.

    Args:
        network: a Network with values.
        path: the .tflite file to write.
        contents: "raw" maps before the heads (`raw0`, `raw1` ...; the last layer's `output` where
            there is no head), or "boxes" (B, N, 4), xyxy in fractions of the input, with `scores`
            (B, N, classes).
        int8: a data set, or images: layers are computed in 8 bits, in ranges that these show.
        calibration: of int8: how the range of a layer's values is chosen: "minmax" takes all,
            "percentile" leaves out the rarest of each image; there is no "entropy".
        calibration_images: of int8: how many images are used.
        max_drop: of int8: points of mAP that may be lost on them; layers stay in float32 until
            no more are.
        python: an interpreter that has litert_torch; None is that in the variable
            DARKNET_TORCH_CONVERTER_PYTHON, or this one.

    Raises:
        UsageError: the network cannot be exported so, LiteRT computes other numbers, or
            litert_torch is not installed; of int8: the same of ai_edge_litert.
        DataError: of int8: there is no image that can be used.
    """
    in_8_bits = calibration_of(int8, calibration, calibration_images, max_drop, "float32")
    python = suitable_python("litert_torch", "tflite", python)
    origin = Origin.of(network, contents=contents, dynamic_batch=False, dynamic_size=False)
    with staging_folder(path) as folder:
        target = folder / path.name
        if in_8_bits is None:
            _write_float32(network, target, contents, python)
            append_origin(target, origin)
        else:
            TfliteQuantizer.must_have(in_8_bits.method)
            samples = read_samples(network, in_8_bits)
            exact = folder / f"{path.stem}-float32.tflite"
            _write_float32(network, exact, contents, python)
            quantizer = TfliteQuantizer(
                exact, network, samples.inputs, in_8_bits.method, origin, python
            )
            quantize(network, target, quantizer, samples, in_8_bits, _in_litert)
            exact.unlink()


def _in_litert(path: Path) -> Runnable:
    return load(path, engine="litert")


def _write_float32(
    network: Network, target: Path, contents: Literal["raw", "boxes"], python: str
) -> None:
    """Write a file without the record, whose values bear the names of the network's modules."""
    source = target.with_suffix(".pt2")
    torch_export.write(network, source, contents=contents, dynamic_batch=False, dynamic_size=False)
    shape = list(example(network, batch=1).shape)
    files = {"source": str(source), "target": str(target)}
    names = output_names(network, contents)
    run(python, convert, **files, shape=shape, names=names, tolerance=TOLERANCE)
    source.unlink()


def convert(source: str, target: str, shape: list[int], names: list[str], tolerance: float) -> None:
    """Convert a .pt2 file, and check; runs in the other Python."""
    import litert_torch
    import torch

    program = torch.export.load(source).run_decompositions({})  # without operators for training
    module = torch.export.unflatten(program)  # modules, whose names the file's values bear
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))

    class Named(torch.nn.Module):
        """The program with names for its outputs, which the file takes over."""

        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.training = False  # eval() is not for programs

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            outputs = self.module(images)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            return dict(zip(names, outputs, strict=True))

    named = Named()
    model = litert_torch.convert(named, sample_kwargs={"images": images})
    model.export(target)
    references, outputs = named(images), model(images=images)
    for name, reference in references.items():
        expected = reference.detach().numpy()
        error = abs(outputs[name] - expected).max() / max(abs(expected).max(), 1e-6)
        if not error <= tolerance:
            raise SystemExit(f"{name} of LiteRT is {error:.1%} off from torch's")
