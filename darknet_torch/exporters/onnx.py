"""ONNX: runs in ONNX Runtime, OpenCV 5, OpenVINO and what is built from ONNX."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch

from darknet_torch.errors import UsageError
from darknet_torch.exporters.calibration import Calibration
from darknet_torch.exporters.tracing import output_names, prepared, program, varying
from darknet_torch.extras import require
from darknet_torch.files import write_atomically
from darknet_torch.network import Contents, Network
from darknet_torch.network.origin import Origin

__all__ = ["model", "write"]

DEFAULT_IOU = 0.45
"""IoU above which Darknet's detectors drop the weaker of two boxes."""
MAX_BYTES = 2 << 30
"""Largest size of a protocol buffer."""


def write(
    network: Network,
    path: Path,
    *,
    contents: Literal["raw", "boxes", "detections"] | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    opset: int = 18,
    dynamic_batch: bool = True,
    dynamic_size: bool | None = None,
    threshold: float | None = None,
    nms: float | bool | Literal["standard"] | None = None,
    nms_kind: str | None = None,
    max_det: int | None = None,
    int8: str | PathLike[str] | None = None,
    calibration: Literal["percentile", "minmax", "entropy"] = "percentile",
    calibration_images: int = 128,
    max_drop: float = 1.0,
) -> None:
    """Write an ONNX file; its input is `images`, float32 (B, C, H, W) in 0..1, RGB.

    Args:
        network: a Network with values.
        path: the file to write.
        contents: "raw" maps before the heads (`raw0`, `raw1` ...; the last layer's `output` where
            there is no head); "boxes" (B, N, 4), xyxy in fractions of the input, with `scores`
            (B, N, classes); or "detections" (K, 7), after NMS: index of the image in the batch, the
            box, score, class index, the highest score of each class first. None is "detections"
            where one of their options is given, else "raw".
        dtype: precision of weights and computation; input and outputs stay float32.
        opset: version of the operator set, 18 or more.
        dynamic_batch: whether the batch may vary.
        dynamic_size: whether height and width may vary, in multiples of the stride; None where no
            layer fixes them.
        threshold: of detections: lowest score; None is the fork's.
        nms: of detections: IoU above which the weaker of two boxes is dropped; None and True are
            0.45; "standard" is 0.45 with the nms_kind of that name.
        nms_kind: of detections: "default" (the operator NonMaxSuppression), "greedynms" or
            "diounms" (a loop in the graph, exact for images that are stretched to the input),
            "standard" (the operator whatever the cfg has); None is the cfg's.
        max_det: of detections: most detections of an image and class; None keeps all.
        int8: a data set, or images: layers are computed in 8 bits, in ranges that these show.
        calibration: of int8: how the range of a layer's values is chosen: "minmax" takes all,
            "percentile" leaves out the rarest, "entropy" loses the least information.
        calibration_images: of int8: how many images are used.
        max_drop: of int8: points of mAP that may be lost on them; layers stay in float32 until
            no more are.

    Raises:
        UsageError: the network cannot be exported so, or onnx or onnxscript is not installed.
        DataError: of int8: there is no image that can be used.
    """
    ranges = int8 and Calibration(int8, calibration, calibration_images, max_drop)
    if ranges and dtype != "float32":
        raise UsageError(f"int8: what is not in 8 bits is float32, not {dtype}")
    content = model(
        network,
        contents=contents,
        dtype=dtype,
        opset=opset,
        dynamic_batch=dynamic_batch,
        dynamic_size=dynamic_size,
        threshold=threshold,
        nms=nms,
        nms_kind=nms_kind,
        max_det=max_det,
    )
    if ranges:
        from darknet_torch.exporters.int8_onnx import write_onnx

        write_onnx(network, path, content, ranges)
    else:
        write_atomically(path, content.SerializeToString())


def model(
    network: Network,
    *,
    contents: Literal["raw", "boxes", "detections"] | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    opset: int = 18,
    dynamic_batch: bool = True,
    dynamic_size: bool | None = None,
    threshold: float | None = None,
    nms: float | bool | Literal["standard"] | None = None,
    nms_kind: str | None = None,
    max_det: int | None = None,
) -> Any:
    """Return the checked onnx.ModelProto that `write` writes; see there for the arguments."""
    onnx = require("onnx", "onnx")
    require("onnxscript", "onnx")
    if opset < 18:
        raise UsageError(f"opset={opset}: must be at least 18")
    iou, nms_kind = _iou_and_kind(nms, nms_kind)
    contents = _contents(contents, threshold=threshold, nms=nms, nms_kind=nms_kind, max_det=max_det)
    decoded: Literal["raw", "boxes"] = "raw" if contents == "raw" else "boxes"
    traced = program(
        prepared(network, decoded, dtype), dynamic_batch=dynamic_batch, dynamic_size=dynamic_size
    )
    result = _converted(traced, output_names(network, decoded), opset)
    origin = Origin.of(network, contents=contents, dtype=dtype, **varying(traced))
    if contents == "detections":
        least = network.plan.context.dialect.threshold if threshold is None else threshold
        kind, beta = _nms_kind(network, nms_kind)
        from darknet_torch.exporters.onnx_nms import with_nms

        result = with_nms(result, least, iou, kind, beta, max_det)
        origin = replace(origin, threshold=least, nms=iou, nms_kind=kind)
    for key, value in origin.to_text().items():
        result.metadata_props.add(key=key, value=value)
    if result.ByteSize() >= MAX_BYTES:
        raise UsageError("the network is larger than the 2 GB that an ONNX file can hold")
    onnx.checker.check_model(result, full_check=True)
    return result


def _contents(requested: Contents | None, **options: object) -> Contents:
    """Return the contents requested, or "detections" where one of their options is given."""
    given = [name for name, value in options.items() if value is not None and value is not False]
    contents = requested or ("detections" if given else "raw")
    if contents not in ("raw", "boxes", "detections"):
        raise UsageError(f"contents={contents}: must be raw, boxes or detections")
    if given and contents != "detections":
        raise UsageError(f"{given[0]}: is for contents=detections, not {contents}")
    return contents


def _iou_and_kind(nms: float | bool | str | None, kind: str | None) -> tuple[float, str | None]:
    """Return the IoU above which NMS drops a box, and the kind of NMS."""
    if isinstance(nms, str):
        if nms != "standard" or kind not in (None, nms):
            raise UsageError(f"nms={nms}: must be a number or standard, and nms_kind the same")
        return DEFAULT_IOU, nms
    return (DEFAULT_IOU if nms is None or isinstance(nms, bool) else nms), kind


def _nms_kind(network: Network, requested: str | None) -> tuple[str, float]:
    """Return the kind of NMS and its beta: those requested, or those of the last head."""
    kinds = ("default", "greedynms", "diounms", "standard")
    if requested not in (None, *kinds):
        raise UsageError(f"nms_kind={requested}: must be one of {', '.join(kinds)}")
    kind, beta = network.plan.nms
    return ("default" if requested == "standard" else requested or kind), beta


def _converted(traced: torch.export.ExportedProgram, outputs: list[str], opset: int) -> Any:
    with _quiet():
        converted = torch.onnx.export(
            traced,
            dynamo=True,
            input_names=["images"],
            output_names=outputs,
            opset_version=opset,
            verbose=False,
        )
    if converted is None:
        raise UsageError("torch could not convert the network to ONNX")
    return converted.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress and advice."""
    logger = logging.getLogger("torch.onnx")
    before, logger.level = logger.level, logging.ERROR
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.level = before
