"""Which layers of a network bear 8 bits: a search that ends where the score is kept.

The first convolution and those before heads stay in float32: they are little work, and lose the
most. If the score still falls by more than is allowed, further layers do, the most sensitive first.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch

from darknet_torch.errors import warn
from darknet_torch.exporters.calibration import Samples, score
from darknet_torch.exporters.calibration_options import Calibration
from darknet_torch.exporters.stored_weights import relative_error
from darknet_torch.network import Network, Runnable

__all__ = ["Quantizer", "first_and_last", "float32_layers", "quantize"]

FEW = 4
"""Images on which the error of a single layer is measured."""
SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Of the other layers, how many of the most sensitive stay in float32, one after the other."""


class Quantizer(Protocol):
    """Writes a network with some of its layers in 8 bits."""

    @property
    def layers(self) -> Sequence[int]:
        """The layers that can be in 8 bits."""

    def write(self, path: Path, keep: Collection[int] | None) -> None:
        """Write a file.

        Args:
            path: the file.
            keep: the layers that stay in float32; None is all of the network.
        """


def quantize(
    network: Network,
    path: Path,
    quantizer: Quantizer,
    samples: Samples,
    calibration: Calibration,
    run: Callable[[Path], Runnable],
) -> tuple[int, ...]:
    """Write a network in 8 bits.

    Args:
        network: a Network with values.
        path: the file to write.
        quantizer: writes such files.
        samples: see `float32_layers`.
        calibration: how much of the score may be lost.
        run: opens a file.

    Returns:
        The layers that stay in float32.
    """
    last: Collection[int] | None = None
    with TemporaryDirectory() as folder:

        def written(keep: Collection[int] | None) -> Runnable:
            nonlocal last
            last, file = keep, Path(folder) / f"exact-{path.name}" if keep is None else path
            quantizer.write(file, keep)
            return run(file)

        keep = float32_layers(network, quantizer.layers, written, samples, calibration)
    if last is None or set(last) != set(keep):
        quantizer.write(path, keep)
    return keep


def float32_layers(
    network: Network,
    candidates: Sequence[int],
    quantized: Callable[[Collection[int] | None], Runnable],
    samples: Samples,
    calibration: Calibration,
) -> tuple[int, ...]:
    """Return the layers that stay in float32; DarknetWarning if the score falls nevertheless.

    Args:
        network: a Network with values.
        candidates: the layers that can be in 8 bits.
        quantized: layers that stay in float32, None for all -> the network in 8 bits.
        samples: images to measure on; without labels nothing is measured.
        calibration: how much of the score may be lost.
    """
    keep = first_and_last(network) & set(candidates)
    if not samples.labelled:
        warn("the images have no labels: what 8 bits cost in mAP is not measured")
        return tuple(sorted(keep))
    exact = quantized(None)
    wanted = score(exact, samples.dataset) - calibration.max_drop
    missing = wanted - score(quantized(keep), samples.dataset)
    if missing > 0:
        layers = [each for each in candidates if each not in keep]
        ranked = _by_error(layers, candidates, exact, quantized, samples)
        for share in SHARES:
            keep = keep | set(ranked[: max(1, int(len(ranked) * share))])
            missing = wanted - score(quantized(keep), samples.dataset)
            if missing <= 0:
                break
    if missing > 0:
        lost = missing + calibration.max_drop
        warn(f"8 bits cost {lost:.2f} points, more than max_drop={calibration.max_drop}")
    return tuple(sorted(keep))


def first_and_last(network: Network) -> set[int]:
    """Return the first layer with weights, and those that feed a head or yield the output."""
    weighted = [n for n, layer in enumerate(network.layers) if list(layer.parameters())]
    ends = {source for head in network.plan.heads for source in network.plan[head].inputs}
    return {weighted[0], *(ends or {weighted[-1]})} if weighted else set()


def _by_error(
    layers: Sequence[int],
    candidates: Sequence[int],
    exact: Runnable,
    quantized: Callable[[Collection[int] | None], Runnable],
    samples: Samples,
) -> list[int]:
    """Return layers by the error that each causes if it alone is in 8 bits, the largest first."""
    inputs = [torch.from_numpy(each) for each in samples.inputs[:FEW]]
    expected = [_outputs(exact, x) for x in inputs]
    errors = dict[int, float]()
    for layer in layers:
        network = quantized(set(candidates) - {layer})
        errors[layer] = max(
            relative_error(actual, wanted)
            for x, outputs in zip(inputs, expected, strict=True)
            for actual, wanted in zip(_outputs(network, x), outputs, strict=True)
        )
    return sorted(layers, key=lambda layer: -errors[layer])


def _outputs(network: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode():
        outputs = network(x)
    return outputs if isinstance(outputs, tuple) else (outputs,)
