"""What `evaluate` returns: the figures of one network on one data set.

result = evaluate(model, "voc.yaml")
print(result)                                      # a table
result.darknet.average_precisions(101).mean()      # mAP as `detector map -points 101` computes it
result.voc.map07, result.coco.figures["AP"]
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from darknet_torch.data.dataset import Array, Dataset
from darknet_torch.evaluation import report
from darknet_torch.metrics import coco, confusion, darknet, voc
from darknet_torch.metrics.curves import Points, check_points
from darknet_torch.metrics.tables import DetectionTable, GroundTruthTable
from darknet_torch.metrics.top_k import Accuracy

__all__ = ["ClassificationResult", "DetectionResult"]

ALL_POINTS: tuple[Points, ...] = (0, 11, 101)
OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


class _Result(ABC):
    """The score and the text forms of both kinds of results."""

    @property
    @abstractmethod
    def score(self) -> float:
        """One figure in 0..1: `mean_average_precision` of detectors, top 1 of classifiers."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each class."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return every figure as plain Python values, shares in 0..1."""

    def to_json(self) -> str:
        """Return `to_dict` as JSON, on one line."""
        return report.to_json(self.to_dict())

    def to_csv(self) -> str:
        """Return `rows` as CSV."""
        return report.to_csv(self.rows())


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectionResult(_Result):
    """Detections on a data set; each figure is computed from them when it is first used.

    Attributes:
        dataset: the images that could be read, with all problems.
        detections: of all images, in pixels.
        points: how Darknet's AP is computed: 0 (area), 11 or 101 recalls.
        iou: threshold of a match, for Darknet's and VOC's figures and the confusion matrix.
        confidence: score above which true and false positives are counted.
        network: name of the cfg file.
    """

    dataset: Dataset
    detections: DetectionTable
    points: Points = 0
    iou: float = 0.5
    confidence: float = 0.25
    network: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_points(self.points)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the data set's classes."""
        return self.dataset.names

    @cached_property
    def ground_truth(self) -> GroundTruthTable:
        """Ground truths of all images."""
        return GroundTruthTable.from_images(sample.ground_truth for sample in self.dataset.samples)

    @cached_property
    def _matcher(self) -> darknet.Matcher:
        return darknet.Matcher(self.detections, self.ground_truth, len(self.names))

    def match(self, iou: float) -> darknet.MatchedDetections:
        """Return the detections as true and false positives at an IoU, by Darknet's rule."""
        return self._matcher.match(iou)

    @cached_property
    def darknet(self) -> darknet.MatchedDetections:
        """Darknet's true and false positives at `iou`, with AP and counts."""
        return self.match(self.iou)

    @cached_property
    def voc(self) -> voc.VocFigures:
        """VOC's two figures; boxes are as wide as their edges are apart."""
        return voc.evaluate(self.detections, self.ground_truth, len(self.names), self.iou)

    @cached_property
    def coco(self) -> coco.CocoFigures:
        """COCO's figures; UsageError where the extra `eval` is not installed."""
        sizes = [(sample.width, sample.height) for sample in self.dataset.samples]
        return coco.evaluate(self.detections, self.ground_truth, len(self.names), sizes)

    @cached_property
    def confusion(self) -> Array:
        """(C + 1, C + 1): row = detected class, column = ground truth; see `metrics.confusion`."""
        tables, classes = (self.detections, self.ground_truth), len(self.names)
        return confusion.matrix(*tables, classes, iou=self.iou, threshold=self.confidence)

    @cached_property
    def means(self) -> dict[str, dict[int, float]]:
        """Darknet's mAP in 0..1: IoU (".5", ".75", ".5:.95") -> points -> mean."""
        every = [
            [matched.average_precisions(points).mean() for points in ALL_POINTS]
            for matched in map(self.match, OVERLAPS)
        ]
        rows = {".5": every[0], ".75": every[5], ".5:.95": np.mean(every, axis=0)}
        return {
            name: dict(zip(ALL_POINTS, map(float, row), strict=True)) for name, row in rows.items()
        }

    @property
    def mean_average_precision(self) -> float:
        """Darknet's mAP in 0..1, at `iou`, with `points`, over all classes."""
        return float(self.darknet.average_precisions(self.points).mean())

    @property
    def score(self) -> float:
        """`mean_average_precision`: the one figure of a detector, in 0..1."""
        return self.mean_average_precision

    def errors(self) -> Array:
        """Return false positives above `confidence` plus false negatives of each image, int64."""
        matched, images = self.darknet, len(self.dataset)
        image = self.detections.image[matched.row]
        above = matched.score > self.confidence
        positive = matched.listed_true_positive
        required = self.ground_truth.image[~self.ground_truth.difficult]
        tp, fp, total = (
            np.bincount(index, minlength=images)
            for index in (image[above & positive], image[above & ~positive], required)
        )
        errors: Array = fp + total - tp
        return errors

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each class: ground truths, AP by every rule, counts, mean IoU."""
        ap = self.darknet.average_precisions(self.points)
        class_counts = self.darknet.class_counts(self.confidence)
        figures = _coco_or_none(self)
        return [
            {
                "class": name,
                "truths": counts.ground_truths,
                "ap": float(ap[number]),
                "voc07": _number_or_none(self.voc.ap07[number]),
                "voc10": _number_or_none(self.voc.ap10[number]),
                "coco": None if figures is None else _number_or_none(figures.ap[number]),
                **_counts(counts),
            }
            for number, (name, counts) in enumerate(zip(self.names, class_counts, strict=True))
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return every figure as plain Python values, shares in 0..1, None where there is none."""
        figures = _coco_or_none(self)
        return {
            "network": self.network,
            "data": self.dataset.source,
            "pictures": len(self.dataset),
            "truths": len(self.ground_truth),
            "detections": len(self.detections),
            "problems": self.dataset.counts,
            "darknet": {
                "mAP": self.mean_average_precision,
                "points": self.points,
                "iou": self.iou,
                "means": self.means,
                "confidence": self.confidence,
                **_counts(self.darknet.counts(self.confidence)),
            },
            "voc": {
                "iou": self.iou,
                "VOC07": _number_or_none(self.voc.map07),
                "VOC10": _number_or_none(self.voc.map10),
            },
            "coco": None
            if figures is None
            else {name: _number_or_none(value) for name, value in figures.figures.items()},
            "classes": self.rows(),
        }

    def __str__(self) -> str:
        return report.detection_text(self.to_dict())


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassificationResult(_Result):
    """The classes that a classifier predicts for a data set's images.

    Attributes:
        dataset: the images that could be read, with all problems.
        ranked: (N, K) int64, class indices of each image, the most probable first; those of the
            data set, -1 for a class that it lacks.
        accuracy: top-k accuracies.
        network: name of the cfg file.
    """

    dataset: Dataset
    ranked: Array
    accuracy: Accuracy
    network: str = ""

    @property
    def score(self) -> float:
        """Top-1 accuracy in 0..1; 0 without images."""
        return self.accuracy.top1

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each class."""
        accuracy = self.accuracy
        columns = (self.dataset.names, accuracy.images_by_class.tolist(), accuracy.by_class)
        return [
            {"class": name, "truths": images, "top1": _number_or_none(share)}
            for name, images, share in zip(*columns, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return every figure as plain Python values, shares in 0..1."""
        return {
            "network": self.network,
            "data": self.dataset.source,
            "pictures": self.accuracy.images,
            "problems": self.dataset.counts,
            **{f"top{k}": share for k, share in self.accuracy.top.items()},
            "classes": self.rows(),
        }

    def __str__(self) -> str:
        return report.classification_text(self.accuracy.images, self.accuracy.top)


def _coco_or_none(result: DetectionResult) -> coco.CocoFigures | None:
    return result.coco if coco.installed() else None


def _counts(counts: darknet.Counts) -> dict[str, float | None]:
    numbers = {name: getattr(counts, name) for name in ("tp", "fp", "fn")}
    shares = {name: getattr(counts, name) for name in ("precision", "recall", "f1")}
    shares |= {"average_iou": counts.iou}
    return numbers | {name: _number_or_none(share) for name, share in shares.items()}


def _number_or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
