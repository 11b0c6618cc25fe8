"""`export`: write a network as a file for another program."""

from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import signature
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from darknet_torch.errors import UsageError
from darknet_torch.exporters.formats import FORMATS, format_of
from darknet_torch.network import Runnable, as_network

__all__ = ["export", "write_as"]


def export(
    network: Runnable,
    path: str | PathLike[str],
    *,
    to: str | None = None,
    contents: Literal["raw", "boxes", "detections"] | None = None,
    dtype: Literal["float32", "float16"] | None = None,
    dynamic_batch: bool | None = None,
    dynamic_size: bool | None = None,
    opset: int | None = None,
    threshold: float | None = None,
    nms: float | bool | Literal["standard"] | None = None,
    nms_kind: str | None = None,
    max_det: int | None = None,
    layout: Literal["boxes+scores", "ultralytics", "deepstream"] | None = None,
    uint8: bool | None = None,
    any_size: Literal["letterbox", "stretch"] | None = None,
    program: Literal["frigate", "zoneminder", "deepstream"] | None = None,
    max_batch: int | None = None,
    device: Literal["cpu", "cuda"] | None = None,
    fuse: bool | None = None,
    as_detector: bool | None = None,
    classes: int | None = None,
    cutoff: int | None = None,
    int8: str | PathLike[str] | None = None,
    calibration: Literal["percentile", "minmax", "entropy"] | None = None,
    calibration_images: int | None = None,
    max_drop: float | None = None,
    python: str | None = None,
) -> None:
    """Write a network in another program's format.

    Each format has some of the options; None is the format's default.

    Args:
        network: a Network with values.
        path: the file to write.
        to: the format, a key of FORMATS; None is that of the path's ending.
        contents: what the file yields: "raw" maps before the heads, "boxes" with scores, or
            "detections", after NMS (onnx, tensorrt).
        dtype: precision of the weights, and of the computation where the format has both;
            input and outputs stay float32.
        dynamic_batch: whether the batch may vary; True where the format can.
        dynamic_size: whether height and width may vary, in multiples of the stride; None where
            no layer fixes them.
        opset: of onnx: version of the operator set, 11 or more.
        threshold: of detections: lowest score; None is the fork's.
        nms: of detections: IoU above which the weaker of two boxes is dropped, 0.45;
            "standard" is 0.45 with the nms_kind of that name.
        nms_kind: of detections: "default" (the operator NonMaxSuppression), "greedynms" or
            "diounms" (a loop in the graph), "standard" (the operator whatever the cfg has); None
            is the cfg's.
        max_det: of detections: most detections of an image and class.
        layout: of onnx and triton, of boxes: "boxes+scores", or what other programs take:
            "ultralytics" is one output (B, 4 + C, N), cxcywh in pixels and the scores;
            "deepstream" is one (B, N, 6), xyxy in pixels, best score, class index.
        uint8: of onnx and triton: the input is uint8 (B, H, W, C) in 0..255, scaled by the file.
        any_size: of onnx, of boxes and detections: the input is uint8 of any height and width; the
            file resizes it as Darknet does, "letterbox" or "stretch", and boxes are in pixels.
        program: of onnx: a program that gets labels and a configuration beside the file, and boxes
            in its layout.
        max_batch: of tensorrt and triton: most images of a batch.
        device: of aot_inductor: what the package runs on.
        fuse: of darknet, safetensors and state_dict: batch norm becomes part of the weights, and
            the cfg is without it.
        as_detector: of darknet, with fuse: shortcut weights too, as AlexeyAB's detector has them.
        classes: of darknet: new number of classes of the heads, whose weights start at random.
        cutoff: of darknet: only the first layers, as many as given.
        int8: of onnx, openvino, tensorrt and tflite: a data set, or images: layers are computed in
            8 bits, in ranges that these show.
        calibration: of int8: how the range of a layer's values is chosen: "minmax" takes all,
            "percentile" (the default) leaves out the rarest, "entropy" (onnx, tensorrt) loses the
            least information.
        calibration_images: of int8: how many images are used, 128.
        max_drop: of int8: points of mAP that may be lost on them, 1.0; layers stay in float32
            until no more are.
        python: an interpreter that has the converter, for coreml, ncnn, tensorrt and tflite; None
            is that in the variable DARKNET_TORCH_CONVERTER_PYTHON, or this one.

    Raises:
        UsageError: an unknown ending or option, a package that is not installed, a network that
            the format cannot hold, or a file that cannot be written.
        DataError: of int8: there is no image that can be used.
    """
    options = {
        "contents": contents,
        "dtype": dtype,
        "dynamic_batch": dynamic_batch,
        "dynamic_size": dynamic_size,
        "opset": opset,
        "threshold": threshold,
        "nms": nms,
        "nms_kind": nms_kind,
        "max_det": max_det,
        "layout": layout,
        "uint8": uint8,
        "any_size": any_size,
        "program": program,
        "max_batch": max_batch,
        "device": device,
        "fuse": fuse,
        "as_detector": as_detector,
        "classes": classes,
        "cutoff": cutoff,
        "int8": int8,
        "calibration": calibration,
        "calibration_images": calibration_images,
        "max_drop": max_drop,
        "python": python,
    }
    write_as(network, path, to, options)


def write_as(
    network: Runnable, path: str | PathLike[str], to: str | None, options: Mapping[str, Any]
) -> None:
    """Write a network as `export` does; options that are None are left to the format."""
    plain, name = as_network(network), format_of(path) if to is None else to
    if name not in FORMATS:
        raise UsageError(f"format {name}: must be one of {', '.join(FORMATS)}")
    write: Callable[..., None] = import_module(FORMATS[name].module).write
    known = list(signature(write).parameters)[2:]
    given = {option: value for option, value in options.items() if value is not None}
    if unknown := [option for option in given if option not in known]:
        has = f"its options are {', '.join(known)}" if known else "it has no options"
        raise UsageError(f"{path}: {name} has no option {unknown[0]}; {has}")
    _must_have_folder(Path(path))
    try:
        write(plain, Path(path), **given)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


def _must_have_folder(path: Path) -> None:
    """Refuse a path before the work of converting, not after it."""
    if not path.parent.is_dir():
        raise UsageError(f"{path}: cannot be written: there is no folder {path.parent}")
