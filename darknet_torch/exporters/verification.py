"""A converted file compared with the network that it came from, on real images.

report = verify(network, "yolov4-tiny.onnx")
print(report)                                      # one line a check
assert report.good
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.exporters.counterpart import Counterpart
from darknet_torch.exporters.stored_weights import has_weights, relative_error, weight_errors
from darknet_torch.exporters.tracing import prepared
from darknet_torch.heads.boxes import iou
from darknet_torch.inference import engines
from darknet_torch.inference.converted import Converted
from darknet_torch.inference.detections import Detections
from darknet_torch.inference.detector import Detector
from darknet_torch.inference.metadata import read_origin
from darknet_torch.inference.sample import as_input, sample_image
from darknet_torch.inference.streaming import run_batches
from darknet_torch.loading import load
from darknet_torch.network import Network, Runnable, as_network
from darknet_torch.network.checkpoint_file import ENDINGS, has_ending
from darknet_torch.network.eval_mode import in_eval_mode
from darknet_torch.network.folding import fold
from darknet_torch.network.origin import Origin

__all__ = ["COMPARED", "Check", "Report", "verify"]

BOUNDS = {"float32": 5e-5, "float16": 2e-2, "int8": 0.5}
"""Largest difference of an output, relative to its largest magnitude, by the file's precision."""
COMPARED = tuple(dict.fromkeys((*engines.ENDINGS, *ENDINGS, ".weights")))
"""Endings of the files that can be compared."""
Runs = Callable[[Tensor], Tensor | tuple[Tensor, ...]]
LOWER_THRESHOLDS = (0.1, 0.01, 0.001)
SCORE = 1e-3
"""Detections whose score is this near to the threshold are not compared."""
SURE = 0.5
"""The same of files in 8 bits, and how much a score may differ: what is sure must be found."""


class Check(NamedTuple):
    """One comparison: a name, the largest difference, and the largest that is allowed.

    Attributes:
        what: the name.
        difference: the largest difference.
        bound: the largest that is allowed.
        compared: number of detections that were compared; None for other comparisons, 0 where there
            was nothing to compare.
    """

    what: str
    difference: float
    bound: float
    compared: int | None = None

    @property
    def good(self) -> bool:
        """Whether something was compared and is within the bound; a NaN is not."""
        return self.compared != 0 and self.difference <= self.bound

    def __str__(self) -> str:
        if self.compared == 0:
            return f"none {self.what}: there was nothing to compare"
        state = "ok  " if self.good else "FAIL"
        of = "" if self.compared is None else f" of {self.compared}"
        return f"{state} {self.what}{of}: {self.difference:.2e} (bound {self.bound:.0e})"


@dataclass(frozen=True)
class Report:
    """All comparisons of one file."""

    checks: tuple[Check, ...]

    @property
    def good(self) -> bool:
        """Whether all compared something, and are within their bounds."""
        return all(check.good for check in self.checks)

    def __str__(self) -> str:
        return "\n".join(map(str, self.checks))


def verify(
    network: Runnable,
    path: str | PathLike[str],
    *,
    images: Sequence[Any] = (),
    engine: str | None = None,
    bound: float | None = None,
    trusted: bool = False,
) -> Report:
    """Run a network and a file that was converted from it on the same images, and compare.

    The weights are compared, where they can be read from the file, the outputs and the detections.
    Where NMS in the file is of another kind than the cfg's, the difference is reported without a
    bound. Where there is no detection the threshold is lowered; a file with NMS inside has its own,
    and needs images with detections.

    Args:
        network: what the file was converted from.
        path: a file for an engine; or one of weights (.safetensors, .pt, .pth with a cfg inside;
            .weights with its .cfg beside it), which is loaded again.
        images: what `detect` takes; none means the sample image, or random numbers where the
            input has neither 1 nor 3 channels.
        engine: "onnxruntime", "openvino", "opencv", "torch", "ncnn" or "litert"; None is the first
            of them that is installed and takes the file.
        bound: largest difference of an output, relative to its largest magnitude; None is that of
            the file's precision.
        trusted: run the file although it is a program that can do anything: .pt2, TorchScript.

    Returns:
        All comparisons; `report.good` where all compared something and are within their bounds.

    Raises:
        UsageError: the file cannot be run, is not trusted, or is of another network.
    """
    plain = as_network(network)
    with in_eval_mode(plain):
        return _report(plain, Path(path), images, engine, bound, trusted)


def _report(
    network: Network,
    path: Path,
    images: Sequence[Any],
    engine: str | None,
    bound: float | None,
    trusted: bool,
) -> Report:
    images = list(images) or [sample_image(network)]
    if not engines.is_converted(path):
        if engine is not None:
            raise UsageError(f"{path}: no engine runs it; {engine} takes converted files")
        return _of_weights(network, path, images, BOUNDS["float32"] if bound is None else bound)
    origin = read_origin(path)
    name = engines.engine_for(path, engine)
    converted = Converted(path, network.plan, network.names, name, origin, trusted=trusted)
    limit = BOUNDS[origin.dtype] if bound is None else bound
    checks = []
    if has_weights(path) and origin.dtype != "int8":  # there they are others, by as much as 1/256
        mine = prepared(network, dtype=origin.dtype).state_dict()
        checks += [_weights(weight_errors(path, mine), len(mine))]
    if converted.contents != "detections":
        plain = Counterpart(network, origin)
        names = ("boxes", "scores") if converted.contents == "boxes" else ()
        checks += _outputs(network, plain, converted, images, limit, names)
    if network.plan.heads:
        checks += _detections(network, converted, images, limit)
    return Report(tuple(checks))


def _of_weights(network: Network, path: Path, images: Sequence[Any], bound: float) -> Report:
    """Load a file of weights again; it may hold the network itself, or be fused."""
    other = _loaded(network, path)
    if len(other.plan) != len(network.plan) or other.plan.outputs != network.plan.outputs:
        raise UsageError(f"{path}: is of another network, of {len(other.plan)} layers")
    theirs, same = other.state_dict(), network
    if theirs.keys() != network.state_dict().keys():
        same = fold(network)
    pairs = [(theirs[key], mine) for key, mine in same.state_dict().items() if key in theirs]
    errors = [relative_error(actual.to(expected.dtype), expected) for actual, expected in pairs]
    checks = [_weights(errors, len(same.state_dict()))]
    mine, their = (_without_memory(each) for each in (network, other))
    checks += _outputs(network, mine, their, images, bound)
    if network.plan.heads:
        checks += _any_detections(network, other, images, max(1e-4, bound))
    return Report(tuple(checks))


def _loaded(network: Network, path: Path) -> Network:
    """Load a file of weights for comparison with a network."""
    if not has_ending(path) and path.suffix.lower() != ".weights":
        raise UsageError(f"{path}: the ending must be one of {', '.join(COMPARED)}")
    context = network.plan.context
    source = (path, None) if has_ending(path) else (path.with_suffix(".cfg"), path)
    return as_network(load(*source, dialect=context.dialect, mode=context.mode))


def _without_memory(network: Network) -> Runs:
    """Return a function that runs a network from its first state and leaves its own state alone."""
    return lambda x: network.step(x)[0]


def _weights(errors: Sequence[float], count: int) -> Check:
    what = f"weights, {len(errors)} of {count} tensors"
    return Check(what, max(errors, default=0.0), 0.0, None if errors or not count else 0)


def _outputs(
    network: Network,
    plain: Runs,
    other: Runs,
    images: Sequence[Any],
    bound: float,
    names: Sequence[str] = (),
) -> list[Check]:
    worst: dict[int, float] = {}
    for x in (as_input(network, image) for image in images):
        with torch.inference_mode():
            pairs = zip(_tuple(other(x)), _tuple(plain(x)), strict=True)
        for number, (actual, expected) in enumerate(pairs):
            worst[number] = max(worst.get(number, 0.0), relative_error(actual, expected))
    return [
        Check(names[number] if names else f"output {number}", error, bound)
        for number, error in worst.items()
    ]


def _tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _detections(
    network: Network, converted: Converted, images: Sequence[Any], bound: float
) -> list[Check]:
    """Compare the detections of network and file, box by box, class by class."""
    origin, own = converted.origin, Detector(network).nms_kind
    limit = SURE if origin.dtype == "int8" else max(1e-4, bound)
    same = (origin.layout, origin.images) == (Origin.layout, Origin.images)
    mine = network if same else Counterpart(network, origin)
    if converted.contents != "detections":
        return _any_detections(mine, converted, images, limit)
    theirs = Detector(converted, threshold=origin.threshold)
    own_nms = _with_nms_of(origin, mine, origin.nms_kind)
    checks = _comparison(own_nms, theirs, images, limit)
    if origin.nms_kind not in (None, own):
        exact = _with_nms_of(origin, mine, own)
        checks += _comparison(exact, theirs, images, float("inf"), f"beside nms_kind={own}")
    return checks


def _any_detections(
    network: Runnable, other: Runnable, images: Sequence[Any], bound: float
) -> list[Check]:
    """Compare the detections above the usual threshold; above a lower one, if there are none."""
    usual = Detector(network).threshold
    for threshold in (usual, *(each for each in LOWER_THRESHOLDS if each < usual)):
        pair = [Detector(each, threshold=threshold) for each in (network, other)]
        checks = _comparison(pair[0], pair[1], images, bound)
        if checks[0].compared:
            break
    return checks


def _with_nms_of(origin: Origin, network: Runnable, nms_kind: str | None) -> Detector:
    """Return a detector with the threshold and the IoU of the NMS inside a file."""
    nms = 0.45 if origin.nms is None else origin.nms
    return Detector(network, threshold=origin.threshold, nms=nms, nms_kind=nms_kind)


def _comparison(
    mine: Detector, theirs: Detector, images: Sequence[Any], bound: float, what: str = "detections"
) -> list[Check]:
    """Compare the detections of two detectors; the count is that of the first or of the second."""
    scores = boxes = 0.0
    count = 0
    near = SURE if bound == SURE else min(SCORE, mine.threshold / 10)
    least = mine.threshold + near
    for image in images:
        (a,), (b,) = (run_batches(each, [each.prepare(image)]) for each in (mine, theirs))
        for these, those in ((a, b), (b, a)):
            numbers = (these.score > least).nonzero()[:, 0].tolist()
            for score, box in (_nearest(these, number, those) for number in numbers):
                scores, boxes = max(scores, score), max(boxes, box)
        count += max(int((each.score > least).sum()) for each in (a, b))
    return [
        Check(f"{what}, probability", scores, bound, count),
        Check(f"{what}, 1 - IoU", boxes, 0.5 if bound == SURE else 10 * bound, count),
    ]


def _nearest(these: Detections, number: int, those: Detections) -> tuple[float, float]:
    """Compare one detection with the nearest of its class; (1, 1) if there is none."""
    same = those.class_id == these.class_id[number]
    if not same.any():
        return 1.0, 1.0
    overlaps = iou(these.xyxy[number], those.xyxy[same])
    best = int(overlaps.argmax())
    score = (those.score[same][best] - these.score[number]).abs()
    return float(score), float(1 - overlaps[best])
