"""What a conversion to 8 bits needs: images that show the values of each layer, and a score.

calibration = Calibration("my.yaml", "percentile", images=128, max_drop=1.0)
samples = read_samples(network, calibration)
for x in samples.inputs: ...                       # (1, C, H, W) float32, as detect makes them
"""

from dataclasses import dataclass
from os import PathLike, fspath

import numpy as np

from darknet_torch import data
from darknet_torch.data import Dataset
from darknet_torch.data.dataset import Array
from darknet_torch.errors import DataError, ImageError, UsageError, warn
from darknet_torch.evaluation.evaluator import evaluate
from darknet_torch.exporters.calibration_options import Calibration, Method
from darknet_torch.inference.classifier import Classifier
from darknet_torch.inference.detector import Detector
from darknet_torch.network import Network, Runnable

__all__ = [
    "Samples",
    "calibration_of",
    "is_labelled",
    "read_samples",
    "score",
]


@dataclass(frozen=True)
class Samples:
    """Images for calibration.

    Args:
        dataset: these images, with their ground truth if there is any.
        inputs: what the network gets of them, (1, C, H, W) float32 each.
    """

    dataset: Dataset
    inputs: tuple[Array, ...]

    @property
    def labelled(self) -> bool:
        """Whether a score can be measured on them."""
        return is_labelled(self.dataset)


def is_labelled(dataset: Dataset) -> bool:
    """Return whether a data set has any ground truth."""
    return any(len(each.ground_truth) or each.label is not None for each in dataset.samples)


def calibration_of(
    data: str | PathLike[str] | None, method: Method, images: int, max_drop: float, dtype: str
) -> Calibration | None:
    """Return what the options of a format mean; None where nothing is brought to 8 bits.

    Args:
        data: see `Calibration`; None is no conversion to 8 bits.
        method: see `Calibration`.
        images: see `Calibration`.
        max_drop: see `Calibration`.
        dtype: of the layers that are not in 8 bits, which must be float32.

    Raises:
        UsageError: an argument is out of its range, or has no data, or dtype is another.
    """
    if data is None:
        if (method, images, max_drop) != (
            Calibration.method,
            Calibration.images,
            Calibration.max_drop,
        ):
            raise UsageError("calibration, calibration_images, max_drop: for int8 only")
        return None
    if dtype != "float32":
        raise UsageError(f"int8: what is not in 8 bits is float32, not {dtype}")
    return Calibration(data, method, images, max_drop)


def read_samples(network: Network, calibration: Calibration) -> Samples:
    """Read images for calibration; those that cannot be read are left out, with a warning.

    Raises:
        DataError: there is no such data set, or no image that can be used.
    """
    dataset = data.read(calibration.data, needs_labels=False)
    where = dataset.source or fspath(calibration.data)
    count = min(len(dataset.samples), calibration.images)
    chosen = np.linspace(0, len(dataset.samples) - 1, count).round().astype(int)
    task = Detector(network) if network.plan.heads else Classifier(network)
    kept, inputs = list[int](), list[Array]()
    for number in chosen.tolist():
        try:
            image = task.prepare(dataset.samples[number].path)
        except ImageError as error:
            warn(f"{error}: left out")
            continue
        if not image.is_flat:
            kept.append(number)
            inputs.append(image.pixels[None].numpy())
    if not inputs:
        first = f"; {dataset.problems[0]}" if dataset.problems and not count else ""
        why = "every image is of one colour, or cannot be read" if count else "there is no image"
        raise DataError(f"{where}: nothing to calibrate with: {why}{first}")
    return Samples(dataset.take(kept), tuple(inputs))


def score(network: Runnable, dataset: Dataset) -> float:
    """Return mAP at an IoU of .5 as Darknet counts it, or the top-1 accuracy; in percent.

    Args:
        network: a Network, or a converted file.
        dataset: labelled images.
    """
    return 100 * evaluate(network, dataset, tops=(1,)).score
