"""The table of export formats; it imports no torch, so that the command's help is fast."""

import re
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from darknet_torch.errors import UsageError

__all__ = ["FORMATS", "Format", "format_of"]


class Format(NamedTuple):
    """A format: endings of its files, the module whose `write` writes it, and what it is."""

    endings: tuple[str, ...]
    module: str
    text: str


HERE = "darknet_torch.exporters"
FORMATS = {
    "onnx": Format((".onnx",), f"{HERE}.onnx", "ONNX: ONNX Runtime, OpenCV 5, OpenVINO, TensorRT"),
    "torch_export": Format((".pt2",), f"{HERE}.torch_export", "torch.export program: torch alone"),
    "torchscript": Format((".torchscript", ".ts"), f"{HERE}.torchscript", "TorchScript: libtorch"),
    "aot_inductor": Format((".aoti.pt2",), f"{HERE}.aot_inductor", "AOTInductor's package"),
    "safetensors": Format((".safetensors",), f"{HERE}.pytorch", "tensors, cfg in the metadata"),
    "state_dict": Format((".pt", ".pth"), f"{HERE}.pytorch", "state dict of torch.save"),
    "darknet": Format((".weights",), f"{HERE}.darknet", "Darknet's own, the .cfg beside it"),
    "openvino": Format((".xml",), f"{HERE}.openvino", "OpenVINO IR, with its .bin beside it"),
    "tflite": Format((".tflite",), f"{HERE}.tflite", "TensorFlow Lite, LiteRT"),
    "coreml": Format((".mlpackage",), f"{HERE}.coreml", "Core ML"),
    "ncnn": Format((".param",), f"{HERE}.ncnn", "NCNN, with its .bin beside it"),
    "tensorrt": Format((".engine",), f"{HERE}.tensorrt", "TensorRT engine, built from ONNX"),
    "triton": Format((), f"{HERE}.triton", "a model folder of Triton, ONNX inside"),
}
"""Name -> format. A module's `write(network, path, *, options)` has an option for each of its
keyword arguments; `export` spells out those of the formats here, the command has all."""


def format_of(path: str | PathLike[str]) -> str:
    """Return the name of the format that a path's ending belongs to; the longest ending wins.

    Raises:
        UsageError: no format has such an ending.
    """
    name = Path(path).name.lower()
    endings = {ending: key for key, each in FORMATS.items() for ending in each.endings}
    for ending in sorted(endings, key=len, reverse=True):
        if name.endswith(ending):
            return endings[ending]
    if re.search(r"\.conv\.\d+$", name):  # what Darknet calls the first layers
        return "darknet"
    raise UsageError(f"{path}: the ending must be one of {', '.join(endings)}")
