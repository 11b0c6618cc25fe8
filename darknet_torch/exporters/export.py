"""Networks as files of other programs: one file of this folder for each format."""

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from darknet_torch.errors import UsageError
from darknet_torch.network import Network

__all__ = ["FORMATS", "Format", "export", "format_of"]


class Format(NamedTuple):
    """A format: endings of its files, the module here that writes it, and what it is."""

    endings: tuple[str, ...]
    module: str
    text: str


FORMATS = {
    "onnx": Format((".onnx",), "onnx", "ONNX: ONNX Runtime, OpenCV 5, OpenVINO, TensorRT"),
    "torch_export": Format((".pt2",), "torch_export", "torch.export program: torch alone"),
    "torchscript": Format((".torchscript", ".ts"), "torchscript", "TorchScript: libtorch"),
    "aot_inductor": Format((".aoti.pt2",), "aot_inductor", "compiled package: AOTInductor"),
    "safetensors": Format((".safetensors",), "pytorch", "tensors, the cfg in the metadata"),
    "state_dict": Format((".pt", ".pth"), "pytorch", "state dict of torch.save"),
    "darknet": Format((".weights",), "darknet", "Darknet's own, with the .cfg beside it"),
    "openvino": Format((".xml",), "openvino", "OpenVINO IR, with its .bin beside it"),
    "tflite": Format((".tflite",), "tflite", "TensorFlow Lite, LiteRT"),
    "coreml": Format((".mlpackage",), "coreml", "Core ML"),
    "ncnn": Format((".param",), "ncnn", "NCNN, with its .bin beside it"),
    "tensorrt": Format((".engine",), "tensorrt", "TensorRT engine, built from ONNX"),
}


def export(
    network: Network, path: str | PathLike[str], *, to: str | None = None, **options: Any
) -> None:
    """Write a network in another program's format.

    to: a name of FORMATS; None is told by the ending of the path.
    options: those of `write` in that format's module, such as `contents="boxes"`.
    Raises UsageError for an unknown ending or option, a package that is not installed, a network
    that the format cannot hold, or a file that cannot be written.
    """
    if not isinstance(network, Network):
        raise UsageError(f"{path}: only networks can be exported, not a {type(network).__name__}")
    name = format_of(path) if to is None else to
    if name not in FORMATS:
        raise UsageError(f"format {name}: must be one of {', '.join(FORMATS)}")
    write: Callable[..., None] = import_module(
        f"darknet_torch.exporters.{FORMATS[name].module}"
    ).write
    known = list(signature(write).parameters)[2:]
    if unknown := [option for option in options if option not in known]:
        said = f"its options are {', '.join(known)}" if known else "it has no options"
        raise UsageError(f"{path}: {name} has no option {unknown[0]}; {said}")
    _must_have_folder(Path(path))
    try:
        write(network, Path(path), **options)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


def _must_have_folder(path: Path) -> None:
    """Refuse a path before the work of converting, not behind it."""
    if not path.parent.is_dir():
        raise UsageError(f"{path}: cannot be written: there is no folder {path.parent}")


def format_of(path: str | PathLike[str]) -> str:
    """Return the format that a path's ending names, the longest ending first."""
    name = Path(path).name.lower()
    endings = {ending: key for key, each in FORMATS.items() for ending in each.endings}
    for ending in sorted(endings, key=len, reverse=True):
        if name.endswith(ending):
            return endings[ending]
    raise UsageError(f"{path}: the ending must be one of {', '.join(endings)}")
