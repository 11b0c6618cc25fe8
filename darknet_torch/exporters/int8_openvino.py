"""OpenVINO in 8 bits, by NNCF."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from darknet_torch.data.dataset import Array
from darknet_torch.errors import UsageError
from darknet_torch.exporters.calibration_options import Method
from darknet_torch.exporters.silence import silent
from darknet_torch.extras import require

__all__ = ["OpenVINOQuantizer"]

RAREST = 1e-4
"""Share of a layer's values that "percentile" leaves out at either end."""
PASSED_ON = {"Split", "VariadicSplit", "Constant", "Parameter", "Result"}
"""Operations without a layer's name that compute nothing."""


class OpenVINOQuantizer:
    """A network in OpenVINO, some of whose layers are brought to 8 bits.

    Args:
        model: an openvino.Model in float32, made from ONNX.
        nodes: names of the ONNX nodes of each layer.
        layers: the layers that can be in 8 bits.
        inputs: images, (1, C, H, W) float32 each.
        method: how ranges are chosen, see `Calibration`; NNCF has no "entropy".
        save: writes a model to a path.

    Raises:
        UsageError: the method is "entropy", or nncf is not installed.
    """

    def __init__(
        self,
        model: Any,
        nodes: dict[int, list[str]],
        layers: Collection[int],
        inputs: tuple[Array, ...],
        method: Method,
        save: Callable[[Any, Path], None],
    ) -> None:
        if method == "entropy":
            raise UsageError("calibration=entropy: openvino has percentile and minmax")
        self.nncf = require("nncf", "nncf")
        self.model, self.nodes, self.save = model, nodes, save
        self.layers: Sequence[int] = sorted(layers)
        self.inputs, self.method = inputs, method

    def write(self, path: Path, keep: Collection[int] | None) -> None:
        """Write a file; the layers `keep` stay in float32, or all if it is None."""
        self.save(self.model if keep is None else self.quantized(keep), path)

    def quantized(self, keep: Collection[int]) -> Any:
        """Return the openvino.Model; the layers `keep` stay in float32."""
        nncf = self.nncf
        with silent("nncf"):
            result = nncf.quantize(
                self.model.clone(),
                nncf.Dataset(self.inputs),
                subset_size=len(self.inputs),
                preset=nncf.QuantizationPreset.MIXED,
                ignored_scope=nncf.IgnoredScope(names=self._outside(keep), validate=False),
                advanced_parameters=self._parameters(),
            )
        result.set_rt_info("int8", ["darknet_torch", "dtype"])
        return result

    def _outside(self, keep: Collection[int]) -> list[str]:
        """Return the names of the operations that stay in float32."""
        inside = {
            name for layer, names in self.nodes.items() if layer not in keep for name in names
        }
        return [
            each.get_friendly_name()
            for each in self.model.get_ordered_ops()
            if each.get_type_name() not in PASSED_ON
            and each.get_friendly_name().removesuffix("/WithoutBiases") not in inside
        ]

    def _parameters(self) -> Any:
        """Return how ranges are chosen, in NNCF's terms."""
        ranges = require("nncf.quantization.range_estimator", "nncf")
        if self.method == "minmax":
            estimator = ranges.RangeEstimatorParametersSet.MINMAX
        else:
            rarest = ranges.StatisticsCollectorParameters(
                statistics_type=ranges.StatisticsType.QUANTILE,
                aggregator_type=ranges.AggregatorType.MEAN,
                quantile_outlier_prob=RAREST,
            )
            estimator = ranges.RangeEstimatorParameters(min=rarest, max=rarest)
        return self.nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=estimator
        )
