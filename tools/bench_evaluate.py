"""The counting of detections, and whole evaluations; `tools/bench.py evaluate`."""

import argparse
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from bench_turns import in_turns

if TYPE_CHECKING:
    from darknet_torch.metrics.tables import DetectionTable, GroundTruthTable

SHARED = Path(__file__).resolve().parents[2] / "shared"
IMAGES, DETECTIONS, GROUND_TRUTHS, SIDE, CLASSES = 5000, 100, 7, 640, 80
"""Of the synthetic data set: images; detections, ground truths and pixels a side of each."""
ROUNDS = 3
BATCH = 4

Array = npt.NDArray[Any]


def bench_evaluate(_: argparse.Namespace) -> None:
    """Time and memory of the counting, then a folder evaluated beside the same folder detected."""
    _counting()
    _memory()
    _folder()


def _counting() -> None:
    """All figures, and those without COCO's, against faster-coco-eval's own way from its input."""
    detections, ground_truth = _tables(IMAGES)
    sizes = [(SIDE, SIDE)] * IMAGES
    rows = _coco_rows(detections, ground_truth)
    seconds = in_turns(
        {
            "coco": lambda: _faster_coco_eval(*rows),
            "ours": lambda: _all_figures(detections, ground_truth, sizes),
            "without": lambda: _all_figures(detections, ground_truth, None),
        },
        ROUNDS,
    )
    print(
        f"counting {len(detections)} detections in {IMAGES} images, {CLASSES} classes: all figures"
        f" {seconds['ours']:.1f} s = {seconds['ours'] / seconds['coco']:.2f} x faster-coco-eval's"
        f" {seconds['coco']:.1f} s (bound 1.5); without COCO's {seconds['without']:.1f} s"
        f" = {seconds['without'] / seconds['coco']:.2f} x"
    )


def _memory() -> None:
    """Peak memory of Darknet's and VOC's figures for more and more detections."""
    peaks = []
    for images in (IMAGES // 4, IMAGES // 2, IMAGES):
        detections, ground_truth = _tables(images)
        tracemalloc.start()
        _all_figures(detections, ground_truth, None)
        peaks.append(tracemalloc.get_traced_memory()[1] / len(detections))
        tracemalloc.stop()
    listed = ", ".join(f"{peak:.0f}" for peak in peaks)
    print(f"  memory at peak, bytes a detection, for a quarter, a half and all of them: {listed}")


def _folder() -> None:
    """Images a second of `evaluate` and of `detect`'s stream, in turns."""
    import darknet_torch as dt
    from darknet_torch.inference.detector import Detector

    photos = SHARED / "datasets/coco128/images/val2017"
    if not photos.is_dir():
        print("evaluate: the photos (../shared) are not here")
        return
    folder = SHARED / "models/yolo-fastest-1.1"
    (cfg,), (weights,) = (list(folder.glob(f"*.{end}")) for end in ("cfg", "weights"))
    fast = dt.optimize(dt.load(cfg, weights, names="coco.names"))
    detector = Detector(fast, threshold=0.005, batch_size=BATCH)
    paths = sorted(map(str, photos.glob("*.jpg")))
    result = dt.evaluate(fast, photos, batch_size=BATCH)
    seconds = in_turns(
        {
            "evaluate": lambda: dt.evaluate(fast, photos, batch_size=BATCH),
            "detect": lambda: list(detector.stream(paths)),
            "figures": lambda: str(replace(result)),
        },
        ROUNDS,
    )
    rates = {name: len(paths) / each for name, each in seconds.items()}
    print(
        f"evaluate {len(paths)} photos, yolo-fastest-1.1: {rates['evaluate']:.1f}/s, labels read;"
        f" detect alone {rates['detect']:.1f}/s: {rates['evaluate'] / rates['detect']:.2f} x;"
        f" then {seconds['figures']:.2f} s for all figures"
    )


def _tables(images: int) -> "tuple[DetectionTable, GroundTruthTable]":
    """Synthetic ground truths, and detections of which a fifth lie near one."""
    from darknet_torch.metrics.tables import DetectionTable, GroundTruthTable, areas

    rng = np.random.default_rng(0)
    total, truths = images * DETECTIONS, images * GROUND_TRUTHS
    place, class_id = rng.integers(0, images, truths), rng.integers(0, CLASSES, truths)
    boxes = _boxes(rng, truths)
    none = np.zeros(truths, bool)
    ground_truth = GroundTruthTable(place, class_id, boxes, none, none, areas(boxes))
    near, of = rng.random(total) < 0.2, rng.integers(0, truths, total)
    shaken = boxes[of] + rng.normal(0, 5, (total, 4))
    shaken[:, 2:] = np.maximum(shaken[:, 2:], shaken[:, :2] + 1)
    image = np.where(near, place[of], np.repeat(np.arange(images), DETECTIONS))
    class_id = np.where(near, class_id[of], rng.integers(0, CLASSES, total))
    xyxy = np.where(near[:, None], shaken, _boxes(rng, total))
    order = np.argsort(image, kind="stable")
    return DetectionTable(image, class_id, rng.random(total), xyxy)[order], ground_truth


def _boxes(rng: np.random.Generator, count: int) -> Array:
    low = rng.random((count, 2)) * 400
    return np.hstack((low, low + 10 + 150 * rng.random((count, 2))))


def _all_figures(
    detections: "DetectionTable",
    ground_truth: "GroundTruthTable",
    sizes: Sequence[tuple[int, int]] | None,
) -> None:
    """What `DetectionResult` counts: all overlaps and rules, confusion; with sizes, COCO's too."""
    from darknet_torch.evaluation.results import ALL_POINTS, OVERLAPS
    from darknet_torch.metrics import coco, confusion, darknet, voc

    matcher = darknet.Matcher(detections, ground_truth, CLASSES)
    for matched in map(matcher.match, OVERLAPS):
        for points in ALL_POINTS:
            matched.average_precisions(points)
        matched.class_counts()
    voc.evaluate(detections, ground_truth, CLASSES)
    confusion.matrix(detections, ground_truth, CLASSES)
    if sizes is not None:
        coco.evaluate(detections, ground_truth, CLASSES, sizes)


def _coco_rows(
    detections: "DetectionTable", ground_truth: "GroundTruthTable"
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The same as faster-coco-eval's own input."""
    truths, results = (
        [
            {"image_id": image + 1, "category_id": class_id + 1, "bbox": box}
            for image, class_id, box in zip(
                table.image.tolist(), table.class_id.tolist(), _xywh(table.xyxy), strict=True
            )
        ]
        for table in (ground_truth, detections)
    )
    for number, (row, area) in enumerate(zip(truths, ground_truth.area.tolist(), strict=True), 1):
        row |= {"id": number, "area": area, "iscrowd": 0}
    for row, score in zip(results, detections.score.tolist(), strict=True):
        row["score"] = score
    images = [{"id": n + 1, "width": SIDE, "height": SIDE} for n in range(IMAGES)]
    categories = [{"id": n + 1, "name": str(n)} for n in range(CLASSES)]
    return {"images": images, "categories": categories, "annotations": truths}, results


def _xywh(xyxy: Array) -> list[list[float]]:
    rows: list[list[float]] = np.hstack((xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2])).tolist()
    return rows


def _faster_coco_eval(truth: dict[str, Any], results: list[dict[str, Any]]) -> None:
    from faster_coco_eval import COCO, COCOeval_faster

    api = COCO(truth)
    fresh = [dict(row) for row in results]  # it writes into the rows
    run = COCOeval_faster(api, api.loadRes(fresh), "bbox", print_function=lambda *_: None)
    run.evaluate()
    run.accumulate()
    run.summarize()
