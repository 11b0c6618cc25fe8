"""ONNX of operator sets 11 to 17, which TensorRT 7 and 8 of older Jetsons need.

The newer exporter of torch begins at 18, and ONNX's version converter has no way back for operators
such as Split, Pad and Mish. The older exporter of torch writes these sets itself.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from darknet_torch.errors import UsageError
from darknet_torch.exporters.tracing import Exported, example
from darknet_torch.extras import require

__all__ = ["OLDEST", "older_model"]

OLDEST = 11
"""The oldest operator set: TensorRT 7 reads it, and Resize as ours is begins there."""
UNFLATTEN = 13
"""The operator set from which torch's older exporter knows `unflatten`."""


class ReshapeForUnflatten(TorchFunctionMode):
    """While it is entered, `torch.unflatten` is computed by `reshape`."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute an operator of torch, see `torch.overrides`."""
        if func in (torch.unflatten, Tensor.unflatten):
            x, dim, sizes = args
            dim %= x.dim()
            return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])
        return func(*args, **(kwargs or {}))


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
    known: AbstractContextManager[Any] = (
        nullcontext() if opset >= UNFLATTEN else ReshapeForUnflatten()
    )
    try:
        with known:
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
