"""TensorRT: an engine for this machine's graphics card, driver and version of TensorRT."""

from pathlib import Path
from typing import Literal

from darknet_torch.errors import UsageError
from darknet_torch.exporters import onnx
from darknet_torch.exporters.other_python import run, suitable_python
from darknet_torch.exporters.staging import staging_folder
from darknet_torch.exporters.tracing import example
from darknet_torch.network import Network

__all__ = ["write"]


def write(
    network: Network,
    path: Path,
    *,
    contents: Literal["raw", "boxes", "detections"] = "raw",
    dtype: Literal["float32", "float16"] = "float32",
    max_batch: int = 1,
    python: str | None = None,
) -> None:
    """Write an engine for batches of 1 to `max_batch` images of the cfg's size, by way of ONNX.

    The input is `images`, and the outputs are those of ONNX. An engine holds no metadata.

    Args:
        network: a Network with values.
        path: the .engine file to write.
        contents: see the ONNX exporter.
        dtype: precision of the graph, which TensorRT takes as it is.
        max_batch: most images of a batch.
        python: an interpreter that has tensorrt; None is that in the variable
            DARKNET_TORCH_CONVERTER_PYTHON, or this one.

    Raises:
        UsageError: the network cannot be exported so, or tensorrt is not installed or has no card.
    """
    python = suitable_python("tensorrt", "tensorrt", python)
    if max_batch < 1:
        raise UsageError(f"max_batch={max_batch}: must be at least 1")
    model = onnx.model(
        network, contents=contents, dtype=dtype, dynamic_batch=max_batch > 1, dynamic_size=False
    )
    with staging_folder(path) as folder:
        source = folder / "model.onnx"
        source.write_bytes(model.SerializeToString())
        shape, target = list(example(network, batch=1).shape[1:]), folder / path.name
        run(python, convert, source=str(source), target=str(target), shape=shape, batch=max_batch)
        source.unlink()


def convert(source: str, target: str, shape: list[int], batch: int) -> None:
    """Build an engine from an ONNX file; runs in the other Python."""
    from pathlib import Path

    import tensorrt

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    # TensorRT 11 has strongly typed networks only, and may drop the flag
    typed = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(source):
        raise SystemExit(str(parser.get_error(0)).splitlines()[0])
    config = builder.create_builder_config()
    if batch > 1:
        profile = builder.create_optimization_profile()
        profile.set_shape("images", [1, *shape], [batch, *shape], [batch, *shape])
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise SystemExit("TensorRT could not build the engine")
    Path(target).write_bytes(engine)
