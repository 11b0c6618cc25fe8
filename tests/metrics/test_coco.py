"""COCO's figures, against pycocotools."""

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from random_boxes import SIDE, random_tables

from darknet_torch.metrics import coco
from darknet_torch.metrics.tables import DetectionTable, GroundTruthTable


@pytest.mark.parametrize(("images", "classes", "most"), [(60, 20, 8), (500, 200, 20)])
def test_coco_equals_pycocotools(images: int, classes: int, most: int) -> None:
    detections, ground_truth = random_tables(images, images, classes, most)
    compare_with_pycocotools(detections, ground_truth, images, classes)


def compare_with_pycocotools(
    detections: DetectionTable, ground_truth: GroundTruthTable, images: int, classes: int
) -> None:
    got = coco.evaluate(detections, ground_truth, classes, [(SIDE, SIDE)] * images)
    want = pycocotools(detections, ground_truth, images, classes)
    figures = [got.figures[name] for name in coco.FIGURES]
    stats = np.where(want.stats == -1, np.nan, want.stats)
    assert figures == pytest.approx(stats.tolist(), abs=1e-9, nan_ok=True)
    assert 0.05 < figures[0] < 0.95
    precision = want.eval["precision"][:, :, :, 0, -1]
    for number in range(classes):
        known = precision[:, :, number][precision[:, :, number] > -1]
        ap = known.mean() if known.size else np.nan
        assert got.ap[number] == pytest.approx(ap, abs=1e-9, nan_ok=True)


def pycocotools(
    detections: DetectionTable, ground_truth: GroundTruthTable, images: int, classes: int
) -> COCOeval:
    api = COCO()
    rows = []
    for i in range(len(ground_truth)):
        left, top, right, bottom = ground_truth.xyxy[i].tolist()
        rows.append(
            {
                "id": i + 1,
                "image_id": int(ground_truth.image[i]) + 1,
                "category_id": int(ground_truth.class_id[i]) + 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": float(ground_truth.area[i]),
                "iscrowd": int(ground_truth.crowd[i]),
            }
        )
    images = [{"id": i + 1, "width": SIDE, "height": SIDE} for i in range(images)]
    categories = [{"id": i + 1, "name": str(i)} for i in range(classes)]
    api.dataset = {"images": images, "categories": categories, "annotations": rows, "info": {}}
    api.createIndex()
    results = []
    for i in range(len(detections)):
        left, top, right, bottom = detections.xyxy[i].tolist()
        row = {
            "image_id": int(detections.image[i]) + 1,
            "category_id": int(detections.class_id[i]) + 1,
        }
        box = [left, top, right - left, bottom - top]
        results.append({**row, "bbox": box, "score": float(detections.score[i])})
    run = COCOeval(api, api.loadRes(results), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return run


def test_coco_of_nothing() -> None:
    detections, ground_truth = random_tables(3, 5, 3)
    nothing = coco.evaluate(detections[:0], ground_truth, 3, [(SIDE, SIDE)] * 5)
    assert nothing.figures["AP"] == 0
    without = coco.evaluate(detections, ground_truth[:0], 3, [(SIDE, SIDE)] * 5)
    assert np.isnan(list(without.figures.values())).all()
    assert np.isnan(without.ap).all()
