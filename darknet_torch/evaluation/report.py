"""Figures as text: the tables that `print(result)` shows, CSV and JSON.

The figures of a detector are the dictionary of `DetectionResult.to_dict`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from darknet_torch.safety import text

__all__ = ["classification_text", "detection_text", "to_csv", "to_json"]

Figures = Mapping[str, Any]
NONE = "-"
"""Stands for a figure that there is not, such as the AP of small objects where none is small."""


def detection_text(figures: Figures) -> str:
    """Return a table of the classes and the totals by every rule."""
    lines = [*_table(figures["classes"]), "", *_totals(figures)]
    missing = any(re.search(rf" {NONE}(,| |$)", line) for line in lines)
    return "\n".join([*lines, *([f"{NONE}: there is nothing to measure it on"] if missing else [])])


def classification_text(images: int, top: Mapping[int, float]) -> str:
    """Return the top-k accuracies of a number of images on one line."""
    return f"{images} pictures: {_percent({f'top {k}': share for k, share in top.items()})}"


def to_csv(rows: Sequence[Figures]) -> str:
    """Return rows with equal keys as CSV, the keys in the first line."""
    keys = list(rows[0]) if rows else []
    return "".join(map(text.csv_line, (keys, *([each[key] for key in keys] for each in rows))))


def to_json(figures: Figures) -> str:
    """Return figures as JSON, on one line."""
    return text.to_json(figures)


def _table(rows: Sequence[Figures]) -> Iterator[str]:
    """A line for each class that has ground truths or detections above the threshold."""
    width = max([len("class"), *(len(row["class"]) for row in rows)])
    yield f"{'class':{width}}  truths  AP       TP     FP     FN  precision  recall"
    for row in rows:
        if row["truths"] or row["tp"] or row["fp"]:
            counts = "  ".join(f"{row[name]:5}" for name in ("tp", "fp", "fn"))
            shares = f"{_share(row['precision']):>9}  {_share(row['recall']):>6}"
            ap = f"{100 * row['ap']:6.2f}"
            yield f"{row['class']:{width}}  {row['truths']:6}  {ap}  {counts}  {shares}"


def _totals(figures: Figures) -> Iterator[str]:
    classes, darknet, voc = (figures[key] for key in ("classes", "darknet", "voc"))
    yield f"{figures['pictures']} pictures, {figures['truths']} truths, {len(classes)} classes"
    yield (
        f"above {darknet['confidence']:g}: {darknet['tp']} right, {darknet['fp']} wrong,"
        f" {darknet['fn']} missed; precision {_share(darknet['precision'])},"
        f" recall {_share(darknet['recall'])}, F1 {_share(darknet['f1'])},"
        f" average IoU {_share(darknet['average_iou'], 100)} %"
    )
    yield from _darknet_lines(darknet)
    yield f"VOC      {_percent({'2007': voc['VOC07'], '2010': voc['VOC10']})}"
    if figures["coco"] is not None:
        coco = list(figures["coco"].items())
        for part in (coco[:6], coco[6:]):
            yield f"COCO     {_percent(dict(part))}"


def _darknet_lines(darknet: Figures) -> Iterator[str]:
    points = darknet["points"]
    rule = "area" if points == 0 else f"{points} points"
    yield f"Darknet  mAP@{darknet['iou']:g} ({rule}) {100 * darknet['mAP']:.2f} %"
    for iou, means in darknet["means"].items():
        named = {"area" if n == 0 else f"{n} points": mean for n, mean in means.items()}
        yield f"         mAP@{iou}: {_percent(named)}"


def _percent(figures: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {_share(value, 100)}" for name, value in figures.items()) + " %"


def _share(value: float | None, factor: int = 1) -> str:
    """Return a figure with two decimals, or a dash where there is none."""
    return NONE if value is None else f"{factor * value:.2f}"
