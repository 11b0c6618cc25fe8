"""torch.export: a .pt2 program that torch alone runs, without this package."""

import io
import warnings
from pathlib import Path
from typing import Literal

import torch

from darknet_torch.exporters.tracing import prepared, program, varying
from darknet_torch.files import write_atomically
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
    """Write a program that `torch.export.load(path).module()` runs.

    The input is float32 (B, C, H, W) in 0..1, RGB, or (B, inputs). The record of
    `network/origin.py` is in extra_files.

    Args:
        network: a Network with values.
        path: the .pt2 file to write.
        contents: "raw" maps before the heads (`raw0`, `raw1` ...; the last layer's `output` where
            there is no head), or "boxes" (B, N, 4), xyxy in fractions of the input, with `scores`
            (B, N, classes).
        dtype: precision of weights and computation; input and outputs stay float32.
        dynamic_batch: whether the batch may vary.
        dynamic_size: whether height and width may vary, in multiples of the stride; None where no
            layer fixes them.

    Raises:
        UsageError: the network cannot be exported so.
    """
    exported = prepared(network, contents, dtype)
    traced = program(exported, dynamic_batch=dynamic_batch, dynamic_size=dynamic_size)
    origin = Origin.of(network, contents=contents, dtype=dtype, **varying(traced))
    content = io.BytesIO()  # on a full disk, torch's own writer ends the process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(traced, content, extra_files=origin.to_text())
    write_atomically(path, content.getvalue())
