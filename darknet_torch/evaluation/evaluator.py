"""A network on a data set: detections of all pictures, in batches, maybe by several processes.

result = evaluate(load("yolov4-tiny"), "coco.yaml", points=101)
print(result.mean_average_precision)
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from darknet_torch import data, distributed
from darknet_torch.data import Dataset, Problem
from darknet_torch.errors import DarknetWarning, DataError, UsageError
from darknet_torch.evaluation.cache import RECORD_COLUMNS, Record
from darknet_torch.evaluation.collect import EvaluationTask, RunSettings, collect_records
from darknet_torch.evaluation.results import ClassificationResult, DetectionResult
from darknet_torch.inference.classifier import Classification, Classifier
from darknet_torch.inference.detections import Detections
from darknet_torch.inference.detector import Detector
from darknet_torch.metrics import top_k
from darknet_torch.metrics.curves import check_points
from darknet_torch.metrics.tables import DetectionTable
from darknet_torch.network import Runnable
from darknet_torch.progress import Progress

__all__ = ["evaluate"]

Array = npt.NDArray[Any]
Source = str | PathLike[str] | Dataset


def evaluate(
    network: Runnable,
    source: Source,
    *,
    split: str = "val",
    names: str | PathLike[str] | None = None,
    format: str | None = None,  # noqa: A002
    points: int = 0,
    iou: float = 0.5,
    confidence: float = 0.25,
    threshold: float = 0.005,
    tops: Sequence[int] = (1, 5),
    cache: str | PathLike[str] | None = None,
    strict: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> DetectionResult | ClassificationResult:
    """Measure a detector (mAP as Darknet, VOC and COCO count it) or a classifier (top k).

    network: a Network, an optimized one, or a converted file.
    source: a data set: what `data.read` takes (a .yaml, a .data, a list, a folder, COCO's .json),
        or a Dataset; split, names, format, strict: as there.
    points: 0 is the area under Darknet's curve, 11 and 101 its means over so many recalls.
    iou: overlap that is wanted; confidence: threshold of the counts of right and wrong detections.
    threshold: lowest score of a detection that is kept.
    cache: a folder for raw findings: what is there is not computed again.
    progress: called with pictures done and in all.
    options: those of `Detector` (nms, nms_kind, letterbox, use_map, batch_size, workers ...), or of
        `Classifier` (letterbox, leaves, batch_size, workers).

    Under `torchrun` every process works on its part of the batches, and all return the whole
    result, which does not depend on how many there are.
    Raises DataError or UsageError; with `strict` for the first problem of the data, which else are
    listed in the result's `dataset`.
    """
    check_points(points)
    _check_shares(iou=iou, confidence=confidence)
    dataset = _dataset(source, split, names, format, strict)
    if not network.plan.heads:
        labelled = _labelled(dataset)
        tops = [k for k in tops if k <= len(labelled.names)] or [1]
        work = _classifying(network, tops, options)
        records, seen = _records(work, labelled, cache, progress, strict)
        return _accuracy(records, seen, tops, network)
    detector = Detector(network, threshold=threshold, **options)
    dataset = _named(detector, dataset)
    numbers = _class_numbers(detector, dataset)
    records, seen = _records(_detecting(detector), dataset, cache, progress, strict)
    return DetectionResult(
        dataset=seen,
        detections=_table(records, numbers),
        points=check_points(points),
        iou=iou,
        confidence=confidence,
        network=network.plan.net.section.file,
    )


def _check_shares(**given: float) -> None:
    for name, value in given.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name}={value}: must be from 0 to 1")


def _dataset(
    source: Source,
    split: str,
    names: str | PathLike[str] | None,
    format: str | None,  # noqa: A002
    strict: bool,
) -> Dataset:
    if isinstance(source, Dataset):
        found = source
    else:
        found = data.read(source, split, names=names, format=format, strict=strict)
    if not found.samples:
        first = f"; {found.problems[0]}" if found.problems else ""
        raise DataError(f"{found.source or source}: no picture to look at{first}")
    return found


# ---- classes


def _named(detector: Detector, dataset: Dataset) -> Dataset:
    """The data set with the network's classes, if it knows its own by number only."""
    count, known = detector.class_count, len(dataset.names)
    if known > count or dataset.names != tuple(map(str, range(known))):
        return dataset
    return replace(dataset, names=detector.names or tuple(map(str, range(count))))


def _class_numbers(detector: Detector, dataset: Dataset) -> Array | None:
    """The data set's class of each of the network's, -1 for none; None where all are the same.

    Classes of one order and number are the same, whatever they are called; else names decide.
    """
    theirs, ours = dataset.names, detector.names
    if detector.class_count == len(theirs):
        if ours == theirs or not ours:
            return None
        if set(ours) == set(theirs) and len(set(ours)) == len(ours):
            return np.array([theirs.index(name) for name in ours])
        _warn_of_names(ours, theirs, dataset.source)
        return None
    missing = [name for name in theirs if name not in ours]
    if missing or not theirs:
        raise UsageError(
            f"{dataset.source or 'the data set'}: {len(theirs)} classes, the network has"
            f" {detector.class_count}, and none is called {missing[0] if missing else '?'!r}"
        )
    places = {name: number for number, name in enumerate(theirs)}
    return np.array([places.get(name, -1) for name in ours])


def _warn_of_names(ours: Sequence[str], theirs: Sequence[str], source: str) -> None:
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        if mine != other:
            warnings.warn(
                f"class {number} is {mine!r} in the network, {other!r} in {source or 'the data'};"
                " numbers decide",
                DarknetWarning,
                stacklevel=4,
            )
            return


def _table(records: Sequence[Record], numbers: Array | None) -> DetectionTable:
    """All detections; pictures are numbered anew, classes as the data set has them."""
    counts = [len(record.rows) for record in records]
    picture = np.repeat(np.arange(len(records)), counts)
    rows = np.concatenate([np.zeros((0, RECORD_COLUMNS)), *(record.rows for record in records)])
    class_id = rows[:, 0].astype(np.int64)
    if numbers is not None:
        class_id = numbers[class_id]
    known = class_id >= 0
    return DetectionTable(picture[known], class_id[known], rows[known, 1], rows[known, 2:])


# ---- going through the pictures


def _records(
    work: EvaluationTask,
    dataset: Dataset,
    cache: str | PathLike[str] | None,
    progress: Progress | None,
    strict: bool,
) -> tuple[list[Record], Dataset]:
    """The findings, and the data set of the pictures that could be read; others are problems."""
    with distributed.joined() as group:
        records = collect_records(work, dataset, RunSettings(cache, progress, group))
    problems = tuple(
        Problem("unreadable picture", str(dataset.samples[record.image].path), record.error)
        for record in records.values()
        if record.error is not None
    )
    kept = [number for number, record in records.items() if record.error is None]
    if problems and (strict or not kept):
        raise DataError(problems[0].what)
    whole = replace(dataset.take(kept), problems=dataset.problems + problems)
    return [records[number] for number in kept], whole


def _detecting(detector: Detector) -> EvaluationTask:
    chosen = replace(detector.options, workers=1)
    settings = f"{chosen} {detector.threshold} {detector.letterbox} {detector.nms_kind}"
    size = detector.options.batch_size
    return EvaluationTask(detector.network, detector.stream, _detection_rows, size, settings)


def _detection_rows(found: Detections) -> Array:
    """(N, 6): class, score, corners."""
    columns = (found.class_id[:, None].float(), found.score[:, None], found.xyxy)
    rows: Array = torch.cat(columns, dim=1).numpy(force=True)
    return rows


# ---- classifiers


def _labelled(dataset: Dataset) -> Dataset:
    labelled = [n for n, sample in enumerate(dataset.samples) if sample.label is not None]
    if not labelled:
        raise DataError(
            f"{dataset.source}: a classifier needs a class for each picture: a folder for each"
            " class, or names that stand in the paths (format: paths)"
        )
    return dataset.take(labelled)


def _classifying(network: Runnable, tops: Sequence[int], options: dict[str, Any]) -> EvaluationTask:
    try:
        classifier = Classifier(network, top=max(tops), **options)
    except TypeError as error:
        raise UsageError(f"evaluate: {str(error).partition('() ')[2] or error}") from error
    names = ("top", "leaves", "letterbox")
    settings = str({name: getattr(classifier, name) for name in names})
    size = classifier.batch_size
    return EvaluationTask(network, classifier.stream, _classification_rows, size, settings)


def _classification_rows(found: Classification) -> Array:
    """(K, 6): class and score, the best first; the rest is 0."""
    rows = np.zeros((len(found), RECORD_COLUMNS), np.float32)
    rows[:, 0], rows[:, 1] = found.class_id.numpy(force=True), found.score.numpy(force=True)
    return rows


def _accuracy(
    records: Sequence[Record], dataset: Dataset, tops: Sequence[int], network: Runnable
) -> ClassificationResult:
    ranked = np.stack([record.rows[:, 0] for record in records]).astype(np.int64)
    labels = np.array([sample.label for sample in dataset.samples])
    return ClassificationResult(
        dataset=dataset,
        ranked=ranked,
        accuracy=top_k.evaluate(ranked, labels, len(dataset.names), tops),
        network=network.plan.net.section.file,
    )
