"""ONNX: runs in ONNX Runtime, OpenCV 5, OpenVINO and what is built from ONNX."""

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from darknet_torch.errors import UsageError
from darknet_torch.exporters.calibration import calibration_of
from darknet_torch.exporters.onnx_any_size import WHOLE_NUMBERS, with_any_size
from darknet_torch.exporters.onnx_older import OLDEST, older_model
from darknet_torch.exporters.onnx_uint8 import with_uint8_input
from darknet_torch.exporters.programs import for_program, labelled, write_beside
from darknet_torch.exporters.silence import silent
from darknet_torch.exporters.tracing import Varying, output_names, prepared, varying
from darknet_torch.exporters.tracing import program as traced_program
from darknet_torch.extras import require
from darknet_torch.files import write_atomically
from darknet_torch.network import Contents, Network
from darknet_torch.network.origin import Images, Layout, Origin

__all__ = ["model", "write"]

DEFAULT_IOU = 0.45
"""IoU above which Darknet's detectors drop the weaker of two boxes."""
NEWER = 18
SCALES_OF_CHANNELS = 13
"""Operator set from which on each channel can have a scale of 8 bits."""
"""The operator set with which torch's newer exporter begins."""
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
    layout: Literal["boxes+scores", "ultralytics", "deepstream"] | None = None,
    uint8: bool = False,
    any_size: Literal["letterbox", "stretch"] | None = None,
    program: Literal["frigate", "zoneminder", "deepstream"] | None = None,
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
        opset: version of the operator set, 11 or more; below 18 height and width are fixed.
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
        layout: of boxes: how other programs want them. "ultralytics" is one output (B, 4 + C, N),
            cxcywh in pixels of the input with the score of each class; "deepstream" is one (B, N,
            6), xyxy in pixels of the input, best score, its class index; None is boxes and scores.
        uint8: the input is uint8 (B, H, W, C) in 0..255, and the file scales it.
        any_size: the input is uint8 of any height and width; the file brings it to the network's
            input, with its aspect ratio ("letterbox") or without ("stretch"), and yields boxes in
            pixels of the image. contents are "boxes" (the default) or "detections".
        program: write labels and a configuration for this program beside the file, in whose layout
            boxes are, and for the cfg's height and width.
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
    if program is not None:
        contents, layout, dynamic_size = for_program(program, contents, layout, dynamic_size)
        labelled(network, program, uint8=uint8)
    if int8 and (layout or uint8 or any_size):
        raise UsageError("int8: has boxes and scores of its own layout, and float32 input")
    if int8 and opset < SCALES_OF_CHANNELS:
        raise UsageError(f"int8: needs opset {SCALES_OF_CHANNELS} or more, not {opset}")
    if any_size and program:
        raise UsageError(f"program={program}: resizes images itself; any_size is for others")
    in_8_bits = calibration_of(int8, calibration, calibration_images, max_drop, dtype)
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
        layout=layout,
        uint8=uint8,
        any_size=any_size,
    )
    if in_8_bits is not None:
        from darknet_torch.exporters.int8_onnx import write_onnx

        write_onnx(network, path, content, in_8_bits)
    else:
        write_atomically(path, content.SerializeToString())
    if program is not None:
        write_beside(network, path, program, uint8=uint8)


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
    layout: Layout | None = None,
    uint8: bool = False,
    any_size: Literal["letterbox", "stretch"] | None = None,
) -> Any:
    """Return the checked onnx.ModelProto that `write` writes; see there for the arguments."""
    onnx = require("onnx", "onnx")
    require("onnxscript", "onnx")
    if opset < OLDEST:
        raise UsageError(f"opset={opset}: must be at least {OLDEST}")
    contents = "boxes" if layout and contents is None else contents
    iou, nms_kind = _iou_and_kind(nms, nms_kind)
    plain: Contents | None = "boxes" if any_size and contents is None else None
    contents = _contents(contents, threshold=threshold, nms=nms, nms_kind=nms_kind, max_det=max_det)
    contents = plain or contents if contents == "raw" else contents
    if layout is not None:
        _must_be_known(layout, contents)
    if any_size is not None:
        _must_bear_any_size(any_size, contents, layout, opset)
        if dynamic_size:
            raise UsageError("any_size: the network behind it has the cfg's size; no dynamic_size")
        dynamic_size = False
    arrangement: Layout = layout or "boxes+scores"
    decoded: Literal["raw", "boxes"] = "raw" if contents == "raw" else "boxes"
    exported, names = (
        prepared(network, decoded, dtype, arrangement),
        output_names(network, decoded, arrangement),
    )
    if opset < NEWER:
        if contents == "detections" or dynamic_size:
            what = "dynamic_size" if dynamic_size else "contents=detections"
            raise UsageError(f"{what}: needs opset {NEWER} or more, not {opset}")
        with silent("torch.onnx"):
            result = older_model(exported, names, opset, dynamic_batch=dynamic_batch)
        varies = Varying(dynamic_batch=dynamic_batch, dynamic_size=False)
    else:
        traced = traced_program(exported, dynamic_batch=dynamic_batch, dynamic_size=dynamic_size)
        result, varies = _converted(traced, names, opset), varying(traced)
    origin = Origin.of(network, contents=contents, dtype=dtype, **varies)
    origin = replace(origin, layout=arrangement, images="uint8" if uint8 else "float32")
    if contents == "detections":
        least = network.plan.context.dialect.threshold if threshold is None else threshold
        kind, beta = _nms_kind(network, nms_kind)
        from darknet_torch.exporters.onnx_nms import with_nms

        result = with_nms(result, least, iou, kind, beta, max_det)
        origin = replace(origin, threshold=least, nms=iou, nms_kind=kind)
    if any_size is not None:
        result = with_any_size(result, letterbox=any_size == "letterbox")
        images: Images = "uint8-letterbox" if any_size == "letterbox" else "uint8-stretch"
        origin = replace(origin, images=images, letterbox=any_size == "letterbox")
    elif uint8:
        if network.plan.input.is_vector:
            raise UsageError("uint8: the network takes vectors, not images")
        result = with_uint8_input(result)
    for key, value in origin.to_text().items():
        result.metadata_props.add(key=key, value=value)
    if result.ByteSize() >= MAX_BYTES:
        raise UsageError("the network is larger than the 2 GB that an ONNX file can hold")
    onnx.checker.check_model(result, full_check=True)
    return result


def _must_bear_any_size(how: str, contents: Contents, layout: Layout | None, opset: int) -> None:
    if how not in ("letterbox", "stretch"):
        raise UsageError(f"any_size={how}: must be letterbox or stretch")
    if contents == "raw" or layout not in (None, "boxes+scores"):
        what = f"layout={layout}" if contents != "raw" else f"contents={contents}"
        raise UsageError(f"any_size: is for contents=boxes or detections, not {what}")
    if opset < WHOLE_NUMBERS:
        raise UsageError(f"any_size: needs opset {WHOLE_NUMBERS} or more, not {opset}")


def _must_be_known(layout: Layout, contents: Contents) -> None:
    if layout not in get_args(Layout):
        raise UsageError(f"layout={layout}: must be {', '.join(get_args(Layout))}")
    if contents != "boxes":
        raise UsageError(f"layout: is for contents=boxes, not {contents}")


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
    with silent("torch.onnx"):
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
