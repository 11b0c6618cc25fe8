"""What `evaluate` returns: all figures of one network on one data set, as a table, JSON, CSV.

result = evaluate(model, "voc.yaml")
print(result)                                      # a table
result.darknet.average_precisions(101).mean()      # mAP as `detector map -points 101` counts it
result.voc.map07, result.coco.figures["AP"]
"""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from io import StringIO
from typing import Any

import numpy as np
import numpy.typing as npt

from darknet_torch.data import Dataset
from darknet_torch.metrics import coco, confusion, darknet, voc
from darknet_torch.metrics.curves import Points, check_points
from darknet_torch.metrics.tables import DetectionTable, GroundTruthTable
from darknet_torch.metrics.top_k import Accuracy

__all__ = ["ClassificationResult", "DetectionResult"]

Array = npt.NDArray[Any]
ALL_POINTS: tuple[Points, ...] = (0, 11, 101)
OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


class _Result(ABC):
    """What both kinds of results can say."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """One row a class."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Every figure as plain Python values, shares in 0..1."""

    def to_json(self) -> str:
        """`to_dict` as JSON, on one line."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_csv(self) -> str:
        """`rows` as CSV."""
        content, rows = StringIO(), self.rows()
        writer = csv.DictWriter(content, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return content.getvalue()


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectionResult(_Result):
    """Detections on a data set, and every figure that they give; each is computed when asked for.

    dataset: the pictures that were read, with all problems; found: the detections, in pixels.
    points: 0 (area), 11 or 101: how Darknet's AP is counted; iou: overlap wanted by Darknet's and
    VOC's figures; confidence: threshold of the counts of right and wrong detections.
    """

    dataset: Dataset
    found: DetectionTable
    points: Points = 0
    iou: float = 0.5
    confidence: float = 0.25
    network: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_points(self.points)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, those of the data set."""
        return self.dataset.names

    @cached_property
    def marked(self) -> GroundTruthTable:
        """The truth of all pictures."""
        return GroundTruthTable.from_images(sample.ground_truth for sample in self.dataset.samples)

    @cached_property
    def _matches(self) -> darknet.Matcher:
        return darknet.Matcher(self.found, self.marked, len(self.names))

    def judged(self, iou: float) -> darknet.MatchedDetections:
        """Darknet's verdicts at any overlap."""
        return self._matches.match(iou)

    @cached_property
    def darknet(self) -> darknet.MatchedDetections:
        """Darknet's verdicts."""
        return self.judged(self.iou)

    @cached_property
    def voc(self) -> voc.VocFigures:
        """VOC's two figures; boxes are as wide as their edges say."""
        return voc.evaluate(self.found, self.marked, len(self.names), self.iou)

    @cached_property
    def coco(self) -> coco.CocoFigures:
        """COCO's figures; UsageError where the extra `eval` is not installed."""
        sizes = [(sample.width, sample.height) for sample in self.dataset.samples]
        return coco.evaluate(self.found, self.marked, len(self.names), sizes)

    @cached_property
    def confusion(self) -> Array:
        """(C + 1, C + 1): row = class found, column = class marked; see `metrics.confusion`."""
        found, marked, count = self.found, self.marked, len(self.names)
        return confusion.matrix(found, marked, count, iou=self.iou, threshold=self.confidence)

    @cached_property
    def means(self) -> dict[str, dict[int, float]]:
        """Darknet's mAP in 0..1: overlap (".5", ".75", ".5:.95") -> points -> mean."""
        every = [
            [judged.average_precisions(points).mean() for points in ALL_POINTS]
            for judged in map(self.judged, OVERLAPS)
        ]
        rows = {".5": every[0], ".75": every[5], ".5:.95": np.mean(every, axis=0)}
        return {
            name: dict(zip(ALL_POINTS, map(float, row), strict=True)) for name, row in rows.items()
        }

    @property
    def mean_average_precision(self) -> float:
        """Darknet's mAP in 0..1, at `iou`, with `points`, over all classes."""
        return float(self.darknet.average_precisions(self.points).mean())

    def errors(self) -> Array:
        """Wrong detections above the threshold, and missed truths, of each picture: (P,) int64."""
        judged, size = self.darknet, len(self.dataset)
        picture = self.found.image[judged.row]
        sure = judged.score > self.confidence
        right, wrong = sure & judged.listed_true_positive, sure & ~judged.listed_true_positive
        truths = self.marked.image[~self.marked.difficult]
        hits, misses, every = (
            np.bincount(some, minlength=size) for some in (picture[right], picture[wrong], truths)
        )
        errors: Array = misses + every - hits
        return errors

    # ---- as text

    def rows(self) -> list[dict[str, Any]]:
        """One row a class: its truths, AP by every rule, right and wrong detections, overlap."""
        ap = self.darknet.average_precisions(self.points)
        counts = self.darknet.class_counts(self.confidence)
        figures = coco_or_none(self)
        return [
            {
                "class": name,
                "truths": one.ground_truths,
                "ap": float(ap[number]),
                "voc07": _known(self.voc.ap07[number]),
                "voc10": _known(self.voc.ap10[number]),
                "coco": None if figures is None else _known(figures.ap[number]),
                "tp": one.tp,
                "fp": one.fp,
                "fn": one.fn,
                "precision": one.precision,
                "recall": one.recall,
                "f1": one.f1,
                "average_iou": one.iou,
            }
            for number, (name, one) in enumerate(zip(self.names, counts, strict=True))
        ]

    def to_dict(self) -> dict[str, Any]:
        """Every figure as plain Python values, shares in 0..1."""
        counts, figures = self.darknet.counts(self.confidence), coco_or_none(self)
        return {
            "network": self.network,
            "data": self.dataset.source,
            "pictures": len(self.dataset),
            "truths": len(self.marked),
            "detections": len(self.found),
            "problems": self.dataset.counts,
            "darknet": {
                "mAP": self.mean_average_precision,
                "points": self.points,
                "iou": self.iou,
                "means": self.means,
                "confidence": self.confidence,
                **{name: getattr(counts, name) for name in ("tp", "fp", "fn")},
                **{name: getattr(counts, name) for name in ("precision", "recall", "f1")},
                "average_iou": counts.iou,
            },
            "voc": {"iou": self.iou, "VOC07": self.voc.map07, "VOC10": self.voc.map10},
            "coco": None if figures is None else figures.figures,
            "classes": self.rows(),
        }

    def __str__(self) -> str:
        return "\n".join((*self._table(), "", *self._totals()))

    def _table(self) -> Iterator[str]:
        wide = max([len("class"), *map(len, self.names)])
        yield f"{'class':{wide}}  truths  AP       TP     FP     FN  precision  recall"
        for row in self.rows():
            if row["truths"] or row["tp"] or row["fp"]:
                counts = "  ".join(f"{row[name]:5}" for name in ("tp", "fp", "fn"))
                shares = f"{row['precision']:9.2f}  {row['recall']:6.2f}"
                ap = f"{100 * row['ap']:6.2f}"
                yield f"{row['class']:{wide}}  {row['truths']:6}  {ap}  {counts}  {shares}"

    def _totals(self) -> Iterator[str]:
        counts, figures = self.darknet.counts(self.confidence), coco_or_none(self)
        yield f"{len(self.dataset)} pictures, {len(self.marked)} truths, {len(self.names)} classes"
        yield (
            f"above {self.confidence:g}: {counts.tp} right, {counts.fp} wrong, {counts.fn} missed;"
            f" precision {counts.precision:.2f}, recall {counts.recall:.2f}, F1 {counts.f1:.2f},"
            f" average IoU {100 * counts.iou:.2f} %"
        )
        yield from self._darknet_lines()
        yield f"VOC      {_percent({'2007': self.voc.map07, '2010': self.voc.map10})}"
        if figures is not None:
            names = list(figures.figures)
            for some in (names[:6], names[6:]):
                yield f"COCO     {_percent({name: figures.figures[name] for name in some})}"

    def _darknet_lines(self) -> Iterator[str]:
        rule = "area" if self.points == 0 else f"{self.points} points"
        yield f"Darknet  mAP@{self.iou:g} ({rule}) {100 * self.mean_average_precision:.2f} %"
        for overlap, row in self.means.items():
            figures = {
                ("area", "11 points", "101 points")[n]: v for n, v in enumerate(row.values())
            }
            yield f"         mAP@{overlap}: {_percent(figures)}"


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassificationResult(_Result):
    """What a classifier said of a data set's pictures.

    ranked: (N, K) classes, the most probable first; accuracy: the shares that are right.
    """

    dataset: Dataset
    ranked: Array
    accuracy: Accuracy
    network: str = ""

    def rows(self) -> list[dict[str, Any]]:
        """One row a class."""
        columns = (
            self.dataset.names,
            self.accuracy.images_by_class.tolist(),
            self.accuracy.by_class,
        )
        return [
            {"class": name, "truths": truths, "top1": _known(share)}
            for name, truths, share in zip(*columns, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Every figure as plain Python values, shares in 0..1."""
        return {
            "network": self.network,
            "data": self.dataset.source,
            "pictures": self.accuracy.images,
            "problems": self.dataset.counts,
            **{f"top{k}": share for k, share in self.accuracy.top.items()},
            "classes": self.rows(),
        }

    def __str__(self) -> str:
        shares = {f"top {k}": share for k, share in self.accuracy.top.items()}
        return f"{self.accuracy.images} pictures: {_percent(shares)}"


def coco_or_none(result: DetectionResult) -> coco.CocoFigures | None:
    """COCO's figures, or None where what counts them is not installed."""
    return result.coco if coco.installed() else None


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _percent(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {100 * value:.2f}" for name, value in figures.items()) + " %"
