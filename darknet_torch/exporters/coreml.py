"""Core ML: .mlpackage for Apple's devices. Linux and macOS convert, only macOS predicts."""

from pathlib import Path
from typing import Literal

from darknet_torch.exporters.other_python import run, suitable_python
from darknet_torch.exporters.staging import staging_folder
from darknet_torch.exporters.torchscript import save, traced_at_one_size
from darknet_torch.exporters.tracing import example, output_names, prepared
from darknet_torch.network import Network
from darknet_torch.network.origin import Origin

__all__ = ["write"]


def write(
    network: Network,
    path: Path,
    *,
    contents: Literal["raw", "boxes"] = "raw",
    dtype: Literal["float32", "float16"] = "float32",
    python: str | None = None,
) -> None:
    """Write an ML program for one image of the cfg's size.

    The input is `images`, float32 (1, C, H, W) in 0..1, RGB, or (1, inputs); the outputs have the
    names that ONNX files have. The record of `network/origin.py` is in the user-defined metadata.

    Args:
        network: a Network with values.
        path: the .mlpackage to write.
        contents: "raw" maps before the heads (`raw0`, `raw1` ...; the last layer's `output` where
            there is no head), or "boxes" (B, N, 4), xyxy in fractions of the input, with `scores`
            (B, N, classes).
        dtype: precision of the computation; the neural engine takes "float16" only.
        python: an interpreter that has coremltools and torch; None is that in the variable
            DARKNET_TORCH_CONVERTER_PYTHON, or this one.

    Raises:
        UsageError: the network cannot be exported so, or coremltools is not installed.
    """
    python = suitable_python("coremltools", "coreml", python)
    origin = Origin.of(
        network, contents=contents, dtype=dtype, dynamic_batch=False, dynamic_size=False
    )
    inputs = [example(network, batch=1)]
    module = traced_at_one_size(prepared(network, contents), inputs)
    with staging_folder(path) as folder:
        source = folder / "traced.ts"
        save(module, source)
        run(
            python,
            convert,
            source=str(source),
            target=str(folder / path.name),
            shape=list(inputs[0].shape),
            names=output_names(network, contents),
            metadata=origin.to_text(),
            half=dtype == "float16",
        )
        source.unlink()


def convert(
    source: str,
    target: str,
    shape: list[int],
    names: list[str],
    metadata: dict[str, str],
    half: bool,
) -> None:
    """Convert a TorchScript file; runs in the other Python."""
    import coremltools
    import torch

    precision = coremltools.precision
    model = coremltools.convert(
        torch.jit.load(source),
        inputs=[coremltools.TensorType("images", shape)],
        outputs=[coremltools.TensorType(name) for name in names],
        compute_precision=precision.FLOAT16 if half else precision.FLOAT32,
        minimum_deployment_target=coremltools.target.iOS16,
    )
    model.user_defined_metadata.update({f"darknet_torch.{key}": metadata[key] for key in metadata})
    model.save(target)
