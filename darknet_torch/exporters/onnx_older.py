"""ONNX of operator sets 11 to 17, which TensorRT 7 and 8 of older Jetsons need.

The newer exporter of torch begins at 18, and ONNX's version converter has no way back for operators
such as Split, Pad and Mish. The older exporter of torch writes these sets itself.
"""

import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.exporters.tracing import Exported, example
from darknet_torch.extras import require
from darknet_torch.layers.traced import Replaced

__all__ = ["OLDEST", "older_model"]

OLDEST = 11
"""The oldest operator set: TensorRT 7 reads it, and Resize as ours is begins there."""
UNFLATTEN = 13
"""The operator set from which torch's older exporter knows `unflatten`."""


def _reshaped(x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Return what `torch.unflatten` does."""
    dim %= x.dim()
    return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])


def older_model(
    exported: Exported, outputs: list[str], opset: int, *, dynamic_batch: bool = True
) -> Any:
    """Return the onnx.ModelProto of an exported network, whose height and width are fixed.

    Args:
        exported: see `tracing.prepared`.
        outputs: names of the outputs.
        opset: version of the operator set, from 11 to 17.
        dynamic_batch: whether the batch may vary.

    Raises:
        UsageError: the exporter has no operator of that set for a layer.
    """
    onnx = require("onnx", "onnx")
    content: Any = io.BytesIO()  # torch takes files, and does not say so
    axes = {name: {0: "batch"} for name in ("images", *outputs)} if dynamic_batch else None
    unknown = (torch.unflatten, Tensor.unflatten) if opset < UNFLATTEN else ()
    try:
        with Replaced(dict.fromkeys(unknown, _reshaped)):
            torch.onnx.export(
                exported,
                (example(exported.network, batch=2 if dynamic_batch else 1),),
                content,
                dynamo=False,
                opset_version=opset,
                input_names=["images"],
                output_names=outputs,
                dynamic_axes=axes,
            )
    except RuntimeError as error:  # of which torch.onnx's are
        reason = str(error).splitlines()[0]
        raise UsageError(f"opset={opset}: torch cannot export this network so: {reason}") from error
    return onnx.load_from_string(content.getvalue())
