"""`evaluate`: a network on a data set, in batches, maybe by several processes.

result = evaluate(load("yolov4-tiny"), "coco.yaml", points=101)
print(result.mean_average_precision)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from os import PathLike
from typing import Literal

import numpy as np
import torch

from darknet_torch import data, distributed
from darknet_torch.data import Dataset, Problem
from darknet_torch.data.dataset import Array
from darknet_torch.errors import DataError, UsageError
from darknet_torch.evaluation.cache import RECORD_COLUMNS, Record
from darknet_torch.evaluation.class_matching import asks_for_shared, match_classes, match_labels
from darknet_torch.evaluation.collect import EvaluationTask, RunSettings, collect_records
from darknet_torch.evaluation.results import ClassificationResult, DetectionResult
from darknet_torch.inference.classifier import Classification, Classifier
from darknet_torch.inference.detections import Detections
from darknet_torch.inference.detector import Detector
from darknet_torch.inference.detector_options import check_fractions
from darknet_torch.metrics import top_k
from darknet_torch.metrics.curves import check_points
from darknet_torch.metrics.tables import DetectionTable
from darknet_torch.network import Runnable
from darknet_torch.network.eval_mode import in_eval_mode
from darknet_torch.progress import Progress
from darknet_torch.safety.text import printable

__all__ = ["evaluate"]

DataSource = str | PathLike[str] | Dataset


def evaluate(
    network: Runnable,
    source: DataSource,
    *,
    split: str = "val",
    names: str | PathLike[str] | None = None,
    format: str | None = None,  # noqa: A002
    points: int = 0,
    iou: float = 0.5,
    confidence: float = 0.25,
    threshold: float | Mapping[str, float] = 0.005,
    nms: float = 0.45,
    nms_kind: str | None = None,
    hier_threshold: float = 0.5,
    classes: Sequence[str | int] | None = None,
    max_det: int | None = None,
    agnostic: bool = False,
    use_map: bool | str | PathLike[str] = False,
    tops: Sequence[int] = (1, 5),
    leaves: bool = True,
    letterbox: bool | None = None,
    tiles: str | tuple[int, int] | None = None,
    overlap: float = 0.2,
    batch_size: int = 1,
    workers: int = 2,
    max_pixels: int | None = None,
    decoder: Literal["pillow", "torchcodec", "nvjpeg", "turbojpeg"] = "pillow",
    cache: str | PathLike[str] | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> DetectionResult | ClassificationResult:
    """Measure a detector (mAP as Darknet, VOC and COCO count it) or a classifier (top k).

    Under `torchrun` every process works on its part of the batches, and all return the whole
    result, which does not depend on how many there are.

    Args:
        network: a Network, an optimized one, or a converted file.
        source: a data set: what `data.read` takes (a .yaml, a .data, a list, a folder, COCO's
            .json), or a Dataset.
        split: which part of the data set: "train", "val" or "test".
        names: a file of the data set's class names; None is the data set's own.
        format: of the labels, see `data.read`; None is as they look.
        points: 0 is the area under Darknet's curve, 11 and 101 its means over so many recalls.
        iou: IoU from which a detection matches a ground truth.
        confidence: score above which true and false positives are counted.
        threshold: lowest score of a detection that is kept; by class name, too ("*": all others).
        nms: of detectors: IoU above which the weaker of two boxes is dropped; 0 keeps all.
        nms_kind: of detectors: "default", "greedynms", "diounms" or "objectness"; None is the
            last head's.
        hier_threshold: of detectors: where to stop on the way down a word tree.
        classes: of detectors: names or indices of the classes to detect; None detects all.
            "shared" measures the classes whose names network and data set both have.
        max_det: of detectors: most detections of an image; None keeps all.
        agnostic: of detectors: boxes of different classes compete in NMS too.
        use_map: of detectors with a word tree: score the classes of the `map` file, or of another.
        tops: of classifiers: the k of top k.
        leaves: of classifiers with a word tree: only the classes without children.
        letterbox: keep the aspect ratio on a grey ground, or stretch (classifiers: cut out the
            centre); None is the fork's.
        tiles: of detectors: size of the tiles in which large images are looked at, see `detect`.
        overlap: share of a tile that the next one has, too.
        batch_size: images, or tiles, in one forward pass.
        workers: threads that read images ahead; on a CPU, long lists are shared among them.
        max_pixels: most pixels of an image file; 0 sets no limit; None is the variable
            DARKNET_TORCH_MAX_PIXELS, or else 89 million (`PIL.Image.MAX_IMAGE_PIXELS`).
        decoder: of JPEG files, see `detect`.
        cache: a folder for detections: what is there is not computed again.
        strict: raise at the first problem of the data.
        progress: called with images done and in all.

    Returns:
        All figures; `result.dataset.problems` lists what is wrong in the data.

    Raises:
        DataError: the data set cannot be read, or with `strict` at its first problem.
        UsageError: an argument is wrong, or not for this kind of network.
    """
    check_points(points)
    check_fractions(iou=iou, confidence=confidence)
    dataset = _dataset(source, split, names, format, strict, max_pixels)
    if not network.plan.heads:
        _must_be_unset(
            nms=nms,
            nms_kind=nms_kind,
            hier_threshold=hier_threshold,
            classes=classes,
            max_det=max_det,
            agnostic=agnostic,
            use_map=use_map,
            tiles=tiles,
            overlap=overlap,
        )
        labelled, numbers = match_labels(network, dataset)
        tops = [k for k in tops if k <= len(labelled.names)] or [1]
        classifier = Classifier(
            network,
            top=max(tops),
            letterbox=letterbox,
            leaves=leaves,
            batch_size=batch_size,
            workers=workers,
            max_pixels=max_pixels,
            decoder=decoder,
        )
        task = _classification_task(classifier)
        records, complete = _records(task, labelled, cache, progress, strict)
        return _accuracy(_ranked(records, numbers), complete, tops, network)
    shared = asks_for_shared(classes, network.names)
    detector = Detector(
        network,
        threshold={"*": 0.005, **threshold} if isinstance(threshold, Mapping) else threshold,
        nms=nms,
        nms_kind=nms_kind,
        hier_threshold=hier_threshold,
        letterbox=letterbox,
        classes=None if shared else classes,
        max_det=max_det,
        agnostic=agnostic,
        use_map=use_map,
        tiles=tiles,
        overlap=overlap,
        batch_size=batch_size,
        workers=workers,
        max_pixels=max_pixels,
        decoder=decoder,
    )
    dataset, numbers = match_classes(detector, dataset, shared=shared)
    records, complete = _records(_detection_task(detector), dataset, cache, progress, strict)
    return DetectionResult(
        dataset=complete,
        detections=_table(records, numbers),
        points=check_points(points),
        iou=iou,
        confidence=confidence,
        network=network.plan.net.section.file,
    )


def _must_be_unset(**given: object) -> None:
    """Refuse options of detectors for a classifier."""
    defaults = signature(Detector).parameters
    for name, value in given.items():
        if value != defaults[name].default:
            raise UsageError(f"{name}: is for detectors, and the network has no head")


def _dataset(
    source: DataSource,
    split: str,
    names: str | PathLike[str] | None,
    format: str | None,  # noqa: A002
    strict: bool,
    max_pixels: int | None,
) -> Dataset:
    if isinstance(source, Dataset):
        dataset = source
    else:
        dataset = data.read(
            source, split, names=names, format=format, strict=strict, max_pixels=max_pixels
        )
    if not dataset.samples:
        first = f"; {dataset.problems[0]}" if dataset.problems else ""
        raise DataError(f"{dataset.source or source}: no image to evaluate on{first}")
    return dataset


def _table(records: Sequence[Record], numbers: Array | None) -> DetectionTable:
    """Return all detections; images are numbered anew, classes are those of the data set.

    numbers: the data set's class of each class of the network; None: they are the same.
    """
    counts = [len(record.rows) for record in records]
    image = np.repeat(np.arange(len(records)), counts)
    rows = np.concatenate([np.zeros((0, RECORD_COLUMNS)), *(record.rows for record in records)])
    class_id = rows[:, 0].astype(np.int64)
    if numbers is not None:
        class_id = numbers[class_id]
    known = class_id >= 0
    return DetectionTable(image[known], class_id[known], rows[known, 1], rows[known, 2:])


def _records(
    task: EvaluationTask,
    dataset: Dataset,
    cache: str | PathLike[str] | None,
    progress: Progress | None,
    strict: bool,
) -> tuple[list[Record], Dataset]:
    """Return the records, and the data set of the images that could be read.

    The others are among its problems.
    """
    with distributed.process_group() as group, in_eval_mode(task.network):
        records = collect_records(task, dataset, RunSettings(cache, progress, group))
    problems = tuple(
        Problem(
            "unreadable picture", printable(str(dataset.samples[record.image].path)), record.error
        )
        for record in records.values()
        if record.error is not None
    )
    kept = [number for number, record in records.items() if record.error is None]
    if problems and (strict or not kept):
        raise DataError(problems[0].what)
    complete = replace(dataset.take(kept), problems=dataset.problems + problems)
    return [records[number] for number in kept], complete


def _detection_task(detector: Detector) -> EvaluationTask:
    return EvaluationTask(
        detector.network, detector.stream, _detection_rows, detector.batch_size, detector.settings
    )


def _detection_rows(result: Detections) -> Array:
    """Return (N, 6): class, score, xyxy."""
    columns = (result.class_id[:, None].float(), result.score[:, None], result.xyxy)
    rows: Array = torch.cat(columns, dim=1).numpy(force=True)
    return rows


def _classification_task(classifier: Classifier) -> EvaluationTask:
    return EvaluationTask(
        classifier.network,
        classifier.stream,
        _classification_rows,
        classifier.batch_size,
        classifier.settings,
    )


def _classification_rows(result: Classification) -> Array:
    """Return (K, 6): class and score, the best first; the rest is 0."""
    rows = np.zeros((len(result), RECORD_COLUMNS), np.float32)
    rows[:, 0], rows[:, 1] = result.class_id.numpy(force=True), result.score.numpy(force=True)
    return rows


def _ranked(records: Sequence[Record], numbers: Array | None) -> Array:
    """Return (N, K): the data set's classes, -1 for those that it lacks; numbers as `_table`."""
    ranked = np.stack([record.rows[:, 0] for record in records]).astype(np.int64)
    return ranked if numbers is None else numbers[ranked]


def _accuracy(
    ranked: Array, dataset: Dataset, tops: Sequence[int], network: Runnable
) -> ClassificationResult:
    labels = np.array([sample.label for sample in dataset.samples])
    return ClassificationResult(
        dataset=dataset,
        ranked=ranked,
        accuracy=top_k.evaluate(ranked, labels, len(dataset.names), tops),
        network=network.plan.net.section.file,
    )
