"""OpenVINO IR: .xml with its .bin beside it, for Intel's processors, graphics and NPUs."""

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from darknet_torch.errors import UsageError
from darknet_torch.exporters import onnx
from darknet_torch.exporters.calibration import calibration_of, read_samples
from darknet_torch.exporters.calibration_options import Calibration
from darknet_torch.exporters.int8 import quantize
from darknet_torch.exporters.int8_onnx import layer_nodes, weighted_layers
from darknet_torch.exporters.int8_openvino import OpenVINOQuantizer
from darknet_torch.exporters.staging import must_not_replace, staging_folder
from darknet_torch.extras import require
from darknet_torch.inference.engines import openvino_core
from darknet_torch.loading import load
from darknet_torch.network import Network, Runnable
from darknet_torch.network.origin import Origin

__all__ = ["write"]


def write(
    network: Network,
    path: Path,
    *,
    contents: Literal["raw", "boxes"] = "raw",
    dtype: Literal["float32", "float16"] = "float32",
    dynamic_batch: bool = True,
    dynamic_size: bool | None = None,
    int8: str | PathLike[str] | None = None,
    calibration: Literal["percentile", "minmax"] = "percentile",
    calibration_images: int = 128,
    max_drop: float = 1.0,
) -> None:
    """Write X.xml and X.bin, by way of ONNX: the input is `images`, the outputs are those of ONNX.

    The record of `network/origin.py` is in rt_info, below "darknet_torch".

    Args:
        network: a Network with values.
        path: the .xml file to write.
        contents: "raw" maps before the heads (`raw0`, `raw1` ...; the last layer's `output` where
            there is no head), or "boxes" (B, N, 4), xyxy in fractions of the input, with `scores`
            (B, N, classes).
        dtype: precision of the weights in the file; the device decides on that of the computation.
        dynamic_batch: whether the batch may vary.
        dynamic_size: whether height and width may vary, in multiples of the stride; None where no
            layer fixes them.
        int8: a data set, or images: layers are computed in 8 bits, in ranges that these show.
        calibration: of int8: how the range of a layer's values is chosen: "minmax" takes all,
            "percentile" leaves out the rarest.
        calibration_images: of int8: how many images are used.
        max_drop: of int8: points of mAP that may be lost on them; layers stay in float32 until
            no more are.

    Raises:
        UsageError: the network cannot be exported so, X.bin belongs to NCNN's X.param, or openvino,
            onnx or onnxscript (of int8: nncf) is not installed.
        DataError: of int8: there is no image that can be used.
    """
    in_8_bits = calibration_of(int8, calibration, calibration_images, max_drop, dtype)
    must_not_replace(path, ".bin", ".param")
    require("openvino", "openvino")
    source = onnx.model(
        network, contents=contents, dynamic_batch=dynamic_batch, dynamic_size=dynamic_size
    )
    # read_model and not convert_model, which reports to Intel that it was called
    model = openvino_core().read_model(source.SerializeToString())
    metadata = {each.key: each.value for each in source.metadata_props}
    origin = replace(Origin.from_text(metadata, path), dtype=dtype)
    for key, value in origin.to_text().items():
        model.set_rt_info(value, ["darknet_torch", key])
    with staging_folder(path) as folder:
        made = folder / path.with_suffix(".xml").name  # OpenVINO refuses an ending in capitals
        if in_8_bits is not None:
            _write_int8(network, made, model, source, in_8_bits)
        else:
            _save(model, made, half=dtype == "float16")
        made.rename(folder / path.name)


def _save(model: Any, path: Path, *, half: bool = False) -> None:
    openvino = require("openvino", "openvino")
    try:
        openvino.save_model(model, path, compress_to_fp16=half)
        openvino_core().read_model(path)  # an error of the last bytes is not reported
    except RuntimeError as error:  # without a reason
        raise UsageError(f"{path}: cannot be written; the disk may be full") from error


def _write_int8(
    network: Network, path: Path, model: Any, source: Any, calibration: Calibration
) -> None:
    """Write a model in 8 bits.

    Args:
        network: what the model was made from.
        path: the .xml file to write.
        model: the openvino.Model in float32.
        source: the onnx.ModelProto that it was read from.
        calibration: the images, and how much may be lost.
    """
    samples = read_samples(network, calibration)
    quantizer = OpenVINOQuantizer(
        model,
        layer_nodes(source),
        weighted_layers(source),
        samples.inputs,
        calibration.method,
        _save,
    )

    def run(file: Path) -> Runnable:
        return load(file, engine="openvino")

    quantize(network, path, quantizer, samples, calibration, run)
