"""ONNX in 8 bits (pairs of QuantizeLinear and DequantizeLinear), by ONNX Runtime."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from darknet_torch.data.dataset import Array
from darknet_torch.errors import DataError
from darknet_torch.exporters.calibration import read_samples
from darknet_torch.exporters.calibration_options import Calibration, Method
from darknet_torch.exporters.int8 import quantize
from darknet_torch.exporters.silence import silent
from darknet_torch.exporters.staging import staging_folder
from darknet_torch.extras import require
from darknet_torch.files import write_atomically
from darknet_torch.loading import load
from darknet_torch.network import Network, Runnable

__all__ = ["OnnxQuantizer", "layer_nodes", "weighted_layers", "write_onnx"]

OPERATORS = (
    *("Conv", "Gemm", "MatMul", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("LeakyRelu", "Relu", "Clip", "Concat", "Resize", "Add", "Split", "Slice"),
)
"""Operators that are computed in 8 bits."""
AT_ONCE = 4
"""Images whose values are in memory together."""


def write_onnx(
    network: Network,
    path: Path,
    model: Any,
    calibration: Calibration,
    *,
    symmetric: bool = False,
) -> None:
    """Write an ONNX file in 8 bits.

    Args:
        network: what the model was made from.
        path: the file to write.
        model: an onnx.ModelProto in float32.
        calibration: the images, and how much may be lost.
        symmetric: zero is 0 in 8 bits, as TensorRT wants it.

    Raises:
        DataError: there is no image that can be used, or the values of a layer hardly differ.
        UsageError: onnxruntime is not installed.
    """
    require("onnxruntime", "onnx")
    samples = read_samples(network, calibration)
    quantizer = OnnxQuantizer(model, samples.inputs, calibration.method, symmetric=symmetric)

    def run(file: Path) -> Runnable:
        return load(file, engine="onnxruntime")

    with staging_folder(path) as folder:
        quantize(network, folder / path.name, quantizer, samples, calibration, run)


class OnnxQuantizer:
    """A network in ONNX, some of whose layers are brought to 8 bits.

    Weights have a scale for each channel. The ranges of all values are measured once.

    Args:
        model: an onnx.ModelProto in float32.
        inputs: images, (1, C, H, W) float32 each.
        method: how ranges are chosen, see `Calibration`.
        symmetric: zero is 0 in 8 bits, as TensorRT wants it.
    """

    def __init__(
        self, model: Any, inputs: tuple[Array, ...], method: Method, *, symmetric: bool = False
    ) -> None:
        from darknet_torch.exporters.onnx_nms import without_nms  # where onnxscript is installed

        self.model, self.symmetric = model, symmetric
        self.nodes = layer_nodes(model)
        self.layers: Sequence[int] = weighted_layers(model)
        with silent():
            # NMS yields another number of boxes for each image, which have no range
            plain = without_nms(model)
            self.ranges = _ranges(plain, inputs, method, symmetric=symmetric)

    def write(self, path: Path, keep: Collection[int] | None) -> None:
        """Write a file; the layers `keep` stay in float32, or all if it is None."""
        content = self.model if keep is None else self.quantized(keep)
        write_atomically(path, content.SerializeToString())

    def quantized(self, keep: Collection[int]) -> Any:
        """Return the onnx.ModelProto; the layers `keep` stay in float32."""
        quantization = require("onnxruntime.quantization", "onnx")
        kinds = quantization.QuantType
        inside = [name for layer, each in self.nodes.items() if layer not in keep for name in each]
        copied = type(self.model)()
        copied.CopyFrom(self.model)
        with silent():
            quantizer = quantization.QDQQuantizer(
                copied,
                True,  # a scale for each channel of the weights
                False,
                kinds.QInt8,
                kinds.QInt8 if self.symmetric else kinds.QUInt8,
                self.ranges,
                inside,
                [],
                list(OPERATORS),
                {"ActivationSymmetric": self.symmetric, "WeightSymmetric": True},
            )
            quantizer.quantize_model()
        for each in quantizer.model.model.metadata_props:
            if each.key == "dtype":
                each.value = "int8"
        return quantizer.model.model


def layer_nodes(model: Any) -> dict[int, list[str]]:
    """Return the names of the nodes of each layer, by its index, that can be in 8 bits."""
    nodes = dict[int, list[str]]()
    for node in model.graph.node:
        scopes = "".join(each.value for each in node.metadata_props if "name_scopes" in each.key)
        found = re.search(r"'network\.layers\.(\d+)'", scopes)
        if found and node.op_type in OPERATORS:
            nodes.setdefault(int(found[1]), []).append(node.name)
    return nodes


def weighted_layers(model: Any) -> list[int]:
    """Return the layers that multiply by weights."""
    names = {node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")}
    return sorted(layer for layer, nodes in layer_nodes(model).items() if names & set(nodes))


def _ranges(model: Any, inputs: tuple[Array, ...], method: Method, *, symmetric: bool) -> Any:
    """Return the range of each value of the graph."""
    quantization = require("onnxruntime.quantization", "onnx")
    methods = quantization.CalibrationMethod
    kind = {
        "percentile": methods.Percentile,
        "minmax": methods.MinMax,
        "entropy": methods.Entropy,
    }[method]
    name = model.graph.input[0].name

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined,misc]
        def __init__(self, images: tuple[Array, ...]) -> None:
            self.left = iter(images)

        def get_next(self) -> dict[str, Array] | None:
            image = next(self.left, None)
            return None if image is None else {name: image}

    with TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        source.write_bytes(model.SerializeToString())
        calibrator = quantization.create_calibrator(
            str(source),
            list(OPERATORS),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=kind,
            extra_options={"symmetric": symmetric},
        )
        try:
            for start in range(0, len(inputs), AT_ONCE):
                calibrator.collect_data(Reader(inputs[start : start + AT_ONCE]))
        except ValueError as error:  # of NumPy: values too close for the bins of a histogram
            raise DataError(
                f"calibration={method}: the values of a layer hardly differ ({error});"
                " calibration=minmax needs no histograms"
            ) from error
        return calibrator.compute_data()
