"""OpenVINO IR: .xml with its .bin beside it, for Intel's processors, graphics and NPUs."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from darknet_torch.exporters import onnx
from darknet_torch.exporters.staging import made_beside
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
    """Write X.xml and X.bin; metadata in rt_info, below "darknet_torch".

    dtype: "float16" halves the weights only; the device decides in what it computes.
    The input is `images`; the other options and the outputs are those of ONNX, from which it is
    made. Raises UsageError for what cannot be, and where openvino, onnx or onnxscript is missing.
    """
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
    with made_beside(path) as folder:
        made = folder / path.with_suffix(".xml").name  # OpenVINO refuses an ending in capitals
        openvino.save_model(model, made, compress_to_fp16=dtype == "float16")
        made.rename(folder / path.name)
