"""Triton: a model folder of NVIDIA's inference server, with ONNX inside, served in batches."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from darknet_torch.errors import UsageError
from darknet_torch.exporters import onnx
from darknet_torch.exporters.staging import staging_folder
from darknet_torch.network import Network
from darknet_torch.safety.text import printable

__all__ = ["MODEL", "write"]

MODEL = Path("1") / "model.onnx"
"""The network inside of a model folder: its first version."""
DELAY = 2000
"""Microseconds that a request waits for others of its batch."""
TYPES = {1: "TYPE_FP32", 2: "TYPE_UINT8"}
"""Number of a type in ONNX -> its name in Triton."""


def write(
    network: Network,
    path: Path,
    *,
    contents: Literal["raw", "boxes"] = "boxes",
    layout: Literal["boxes+scores", "ultralytics", "deepstream"] | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    uint8: bool = False,
    max_batch: int = 8,
) -> None:
    """Write a folder of a model repository: config.pbtxt, labels.txt and 1/model.onnx.

    The folder's name is the model's, and the folder that it lies in is the repository.

    Args:
        network: a Network with values.
        path: the folder of the model; one that is there must be of Triton, and is replaced.
        contents: "boxes" or "raw" maps, see the ONNX exporter.
        layout: of boxes: see the ONNX exporter.
        dtype: precision of weights and computation.
        uint8: the input is uint8 (B, H, W, C) in 0..255.
        max_batch: most images of a batch; requests that wait are computed in one.

    Raises:
        UsageError: the network cannot be exported so, the folder holds other things, or its name
            cannot be that of a model.
    """
    if not re.fullmatch(r"[\w.-]+", path.name, re.ASCII):
        raise UsageError(f"{path}: the name of the folder is that of the model: letters and digits")
    if max_batch < 1:
        raise UsageError(f"max_batch={max_batch}: must be at least 1")
    if path.exists() and not (path / "config.pbtxt").is_file():
        raise UsageError(f"{path}: is there, and is no model folder of Triton (no config.pbtxt)")
    given = {"contents": contents, "layout": layout, "dtype": dtype, "uint8": uint8}
    model = onnx.model(network, dynamic_size=False, **given)  # type: ignore[arg-type]
    with staging_folder(path) as folder:
        made = folder / path.name
        (made / MODEL).parent.mkdir(parents=True)
        (made / MODEL).write_bytes(model.SerializeToString())
        labels = [printable(name) for name in network.names]
        if labels:
            (made / "labels.txt").write_text("".join(f"{name}\n" for name in labels))
        (made / "config.pbtxt").write_text(_config(path.name, model, max_batch, bool(labels)))


def _config(name: str, model: Any, max_batch: int, labels: bool) -> str:
    """Return the configuration as protobuf's text."""
    (images,) = model.graph.input
    outputs = ",\n".join(
        _tensor(each, labels and each.name != "boxes") for each in model.graph.output
    )
    return f"""name: {json.dumps(name)}
backend: "onnxruntime"
default_model_filename: "{MODEL.name}"
max_batch_size: {max_batch}
input [
{_tensor(images, False)}
]
output [
{outputs}
]
dynamic_batching {{
  max_queue_delay_microseconds: {DELAY}
}}
"""


def _tensor(value: Any, labels: bool) -> str:
    """Return the entry of an input or output, whose dimensions are without the batch."""
    dims = _dims(value.type.tensor_type.shape.dim[1:])
    lines = [
        f"name: {json.dumps(value.name)}",
        f"data_type: {TYPES[value.type.tensor_type.elem_type]}",
        f"dims: [ {', '.join(map(str, dims))} ]",
        *(['label_filename: "labels.txt"'] if labels else []),
    ]
    return "  {\n" + "".join(f"    {line}\n" for line in lines) + "  }"


def _dims(dims: Iterable[Any]) -> list[int]:
    return [-1 if each.dim_param else int(each.dim_value) for each in dims]
