"""OpenVINO IR: .xml with its .bin beside it, for Intel's processors, graphics and NPUs."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from darknet_torch.errors import UsageError
from darknet_torch.exporters import onnx
from darknet_torch.exporters.staging import must_not_replace, staging_folder
from darknet_torch.extras import require
from darknet_torch.network import Network
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

    Raises:
        UsageError: the network cannot be exported so, X.bin belongs to NCNN's X.param, or openvino,
            onnx or onnxscript is not installed.
    """
    must_not_replace(path, ".bin", ".param")
    openvino = require("openvino", "openvino")
    source = onnx.model(
        network, contents=contents, dynamic_batch=dynamic_batch, dynamic_size=dynamic_size
    )
    # read_model and not convert_model, which reports to Intel that it was called
    model = openvino.Core().read_model(source.SerializeToString())
    metadata = {each.key: each.value for each in source.metadata_props}
    origin = replace(Origin.from_text(metadata, path), dtype=dtype)
    for key, value in origin.to_text().items():
        model.set_rt_info(value, ["darknet_torch", key])
    with staging_folder(path) as folder:
        made = folder / path.with_suffix(".xml").name  # OpenVINO refuses an ending in capitals
        try:
            openvino.save_model(model, made, compress_to_fp16=dtype == "float16")
            openvino.Core().read_model(made)  # an error of the last bytes is not reported
        except RuntimeError as error:  # without a reason
            raise UsageError(f"{path}: cannot be written; the disk may be full") from error
        made.rename(folder / path.name)
