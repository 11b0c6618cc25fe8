"""TensorRT: an engine for this machine's graphics card, driver and version of TensorRT."""

from os import PathLike
from pathlib import Path
from typing import Literal

from darknet_torch.errors import UsageError
from darknet_torch.exporters import onnx
from darknet_torch.exporters.calibration import calibration_of
from darknet_torch.exporters.int8_onnx import write_onnx
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
    int8: str | PathLike[str] | None = None,
    calibration: Literal["percentile", "minmax", "entropy"] = "percentile",
    calibration_images: int = 128,
    max_drop: float = 1.0,
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
        int8: a data set, or images: layers are computed in 8 bits, in ranges that these show.
        calibration: of int8: how the range of a layer's values is chosen, see the ONNX exporter.
        calibration_images: of int8: how many images are used.
        max_drop: of int8: points of mAP that may be lost on them, as ONNX Runtime computes it.
        python: an interpreter that has tensorrt; None is that in the variable
            DARKNET_TORCH_CONVERTER_PYTHON, or this one.

    Raises:
        UsageError: the network cannot be exported so, or tensorrt is not installed or has no card.
    """
    in_8_bits = calibration_of(int8, calibration, calibration_images, max_drop, dtype)
    python = suitable_python("tensorrt", "tensorrt", python)
    if max_batch < 1:
        raise UsageError(f"max_batch={max_batch}: must be at least 1")
    model = onnx.model(
        network, contents=contents, dtype=dtype, dynamic_batch=max_batch > 1, dynamic_size=False
    )
    with staging_folder(path) as folder:
        source = folder / "model.onnx"
        if in_8_bits is None:
            source.write_bytes(model.SerializeToString())
        else:
            write_onnx(network, source, model, in_8_bits, symmetric=True)
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
