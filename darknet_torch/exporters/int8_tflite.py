"""TensorFlow Lite in 8 bits, by AI Edge Quantizer, which the converter brings along."""

import json
import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darknet_torch.data.dataset import Array
from darknet_torch.errors import UsageError
from darknet_torch.exporters.calibration_options import Method
from darknet_torch.exporters.other_python import run
from darknet_torch.exporters.silence import silent
from darknet_torch.extras import require
from darknet_torch.inference.metadata import append_origin
from darknet_torch.network import Network
from darknet_torch.network.origin import Origin

__all__ = ["TfliteQuantizer"]

LAYER = r"_network/[^/;]*_({})[/;]"
"""In the names of values: the layer whose module computes them."""
RAREST = 1e-5
"""Share of the values in an image that "percentile" leaves out at either end: with ten times as
many, yolov4-tiny loses a point of mAP more."""
PADDING = float(np.finfo(np.float32).max)
"""Max poolings pad with minus this number, or minus infinity; both are no values of a layer."""
Ranges = dict[str, tuple[float, float]]


class TfliteQuantizer:
    """A network in TensorFlow Lite, some of whose layers are brought to 8 bits.

    Weights have a scale for each channel. The ranges of all values are measured once.

    Args:
        source: a .tflite file in float32, whose values bear the names of the network's modules.
        network: what it was made from.
        inputs: images, (1, C, H, W) float32 each.
        method: how ranges are chosen, see `Calibration`; there is no "entropy".
        origin: the record for the files.
        python: the interpreter that has ai_edge_quantizer.

    Raises:
        UsageError: the method is "entropy", or ai_edge_litert is not installed.
    """

    def __init__(
        self,
        source: Path,
        network: Network,
        inputs: tuple[Array, ...],
        method: Method,
        origin: Origin,
        python: str,
    ) -> None:
        self.must_have(method)
        self.source, self.origin, self.python = source, origin, python
        self.ranges = _ranges(source, inputs, method)
        self._named = sorted({layer for name in self.ranges for layer in _layers_of(name)})
        weighted = {n for n, each in enumerate(network.layers) if list(each.parameters())}
        self.layers: Sequence[int] = [layer for layer in self._named if layer in weighted]

    @staticmethod
    def must_have(method: Method) -> None:
        """Raise UsageError for a method that is missing here, or without the engine."""
        if method == "entropy":
            raise UsageError("calibration=entropy: tflite has percentile and minmax")
        require("ai_edge_litert.interpreter", "litert")

    def write(self, path: Path, keep: Collection[int] | None) -> None:
        """Write a file; the layers `keep` stay in float32, or all if it is None."""
        inside = [layer for layer in self._named if keep is not None and layer not in keep]
        if inside:
            pattern = LAYER.format("|".join(map(str, inside)))
            ranges = path.with_name(f"{path.name}.ranges.json")
            ranges.write_text(json.dumps(self.ranges))
            files = {"source": str(self.source), "target": str(path), "ranges": str(ranges)}
            run(self.python, quantize_layers, **files, pattern=pattern)
            ranges.unlink()
        else:
            shutil.copyfile(self.source, path)
        append_origin(path, self.origin if keep is None else replace(self.origin, dtype="int8"))


def quantize_layers(source: str, target: str, ranges: str, pattern: str) -> None:
    """Write a file whose operations of some names are in 8 bits; runs in the other Python."""
    import json
    from pathlib import Path

    import numpy as np
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(source)
    quantizer.add_static_config(pattern, TFLOperationName.ALL_SUPPORTED, 8, 8)
    known = {
        name: {"min": np.array([low]), "max": np.array([high])}
        for name, (low, high) in json.loads(Path(ranges).read_text()).items()
    }
    result = quantizer.quantize(known, enable_progress_bar=False, enable_progress_report=False)
    Path(target).write_bytes(result.quantized_model)


def _layers_of(name: str) -> list[int]:
    """Return the layers in the name of a value; two operations that were fused have both."""
    return [int(number) for number in re.findall(LAYER.format(r"\d+"), name)]


def _ranges(source: Path, inputs: tuple[Array, ...], method: Method) -> Ranges:
    """Return the range of each value: of all images, or the mean of those without the rarest."""
    rarest = 0.0 if method == "minmax" else RAREST
    found: dict[str, list[Array]] = {}
    computed = _computed(source)
    with silent():
        interpreter = _interpreter(source)
        runner = interpreter.get_signature_runner()
        values = [
            each
            for each in interpreter.get_tensor_details()
            if each["index"] in computed and each["dtype"] is np.float32
        ]
        for image in inputs:
            runner(images=image)
            for each in values:
                numbers = interpreter.get_tensor(each["index"])
                if (numbers := numbers[np.abs(numbers) < PADDING]).size:
                    ends = np.quantile(numbers, (rarest, 1 - rarest))
                    found.setdefault(each["name"], []).append(ends)
    low, high = (np.min, np.max) if method == "minmax" else (np.mean, np.mean)
    return {
        name: (float(low([ends[0] for ends in every])), float(high([ends[1] for ends in every])))
        for name, every in found.items()
    }


def _computed(source: Path) -> set[int]:
    """Return the indices of the values that are no constants: those have scales of their own."""
    model = require("ai_edge_litert.tools.flatbuffer_utils", "litert").read_model(str(source))
    graph = model.subgraphs[0]
    return {*graph.inputs, *(index for each in graph.operators for index in each.outputs)}


def _interpreter(source: Path) -> Any:
    """Return an interpreter of LiteRT that keeps the values between operations."""
    interpreter = require("ai_edge_litert.interpreter", "litert").Interpreter(
        str(source), num_threads=torch.get_num_threads(), experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    return interpreter
