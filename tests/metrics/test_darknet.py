"""Darknet's figures: its own record of them, and a slow count by hand."""

import numpy as np
import pytest
from random_boxes import MAP_KEY, ground_truth_table, naive_iou, random_tables, recorded

from darknet_torch.metrics import darknet, voc
from darknet_torch.metrics.curves import check_points
from darknet_torch.metrics.tables import DetectionTable, GroundTruthTable

needs_key = pytest.mark.skipif(not MAP_KEY.is_file(), reason=f"{MAP_KEY} is not here")


@needs_key
@pytest.mark.parametrize("points", [0, 11, 101])
@pytest.mark.parametrize("overlap", [0.5, 0.75])
def test_darknets_own_figures(points: int, overlap: float) -> None:
    detections, ground_truth, key = recorded()
    want = key["results"][f"points{points}_iou{overlap}"]
    matched = darknet.match(detections, ground_truth, key["classes"], overlap)
    ap = matched.average_precisions(check_points(points))
    assert ap.mean() == pytest.approx(want["mAP"], abs=1e-6)
    counts = matched.counts(want["conf_thresh"])
    assert (counts.tp, counts.fp, counts.fn) == (want["TP"], want["FP"], want["FN"])
    assert 100 * counts.iou == pytest.approx(want["average_iou_percent"], abs=0.0051)
    for name, value in (("precision", counts.precision), ("recall", counts.recall)):
        assert value == pytest.approx(want[name], abs=0.0051)
    assert counts.f1 == pytest.approx(want["F1"], abs=0.0051)
    each = matched.class_counts(want["conf_thresh"])
    for number, row in want["per_class"].items():
        one = each[int(number)]
        assert 100 * ap[int(number)] == pytest.approx(row["ap_percent"], abs=0.0051)
        assert (one.tp, one.fp) == (row["tp"], row["fp"])
    assert len(want["per_class"]) == 12


def test_counts_at_a_threshold_go_by_the_order_of_the_list() -> None:
    """The first one listed is the true positive, whatever its score; AP goes by score."""
    box = [0, 0, 10, 10]
    ground_truth = ground_truth_table([(0, 0, box)])
    detections = DetectionTable(
        np.zeros(2), np.zeros(2), np.array([0.1, 0.9]), np.array([box, box])
    )
    matched = darknet.match(detections, ground_truth, 1)
    assert matched.score.tolist() == [0.9, 0.1]
    assert matched.true_positive.tolist() == [True, False]
    counts = matched.counts(0.25)
    assert (counts.tp, counts.fp, counts.fn) == (0, 1, 1)


def test_difficult_ground_truths_are_neither_false_negatives_nor_positives() -> None:
    easy, hard, nowhere = [0, 0, 10, 10], [50, 50, 60, 60], [90, 90, 99, 99]
    ground_truth = ground_truth_table([(0, 0, easy), (0, 0, hard)])
    ground_truth.difficult[1] = True
    boxes = np.array([easy, hard, nowhere])
    detections = DetectionTable(np.zeros(3), np.zeros(3), np.array([0.5, 0.9, 0.4]), boxes)
    counts = darknet.match(detections, ground_truth, 1).counts(0.25)
    assert (counts.tp, counts.fp, counts.fn) == (1, 1, 0)
    assert darknet.match(detections, ground_truth, 1).average_precisions().tolist() == [1.0]
    assert voc.evaluate(detections, ground_truth, 1).ap10.tolist() == [1.0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("points", [0, 11, 101])
def test_darknets_ap_by_hand(seed: int, points: int) -> None:
    detections, ground_truth = random_tables(seed, 12, 5)
    matched = darknet.match(detections, ground_truth, 5, 0.5)
    ap = matched.average_precisions(check_points(points))
    want = [naive_ap(detections, ground_truth, c, 0.5, points) for c in range(5)]
    assert ap == pytest.approx(want, abs=1e-12)
    assert max(want) > 0.2


def naive_ap(
    detections: DetectionTable,
    ground_truth: GroundTruthTable,
    class_id: int,
    overlap: float,
    points: int,
) -> float:
    """One detection after the other, as Darknet's `validate_detector_map` goes through them."""
    rows = [i for i in range(len(detections)) if detections.class_id[i] == class_id]
    rows.sort(key=lambda i: -detections.score[i])
    easy = [t for t in range(len(ground_truth)) if ground_truth.class_id[t] == class_id]
    positives = sum(not ground_truth.difficult[t] for t in easy)
    taken: set[int] = set()
    precision, recall, right, total = [], [], 0, 0
    for i in rows:
        best, mine = {True: 0.0, False: 0.0}, {True: -1, False: -1}
        for t in easy:
            value = naive_iou(detections.xyxy[i], ground_truth.xyxy[t])
            hard = bool(ground_truth.difficult[t])
            if ground_truth.image[t] == detections.image[i] and value > max(best[hard], overlap):
                best[hard], mine[hard] = value, t
        if mine[False] < 0 and mine[True] >= 0:
            continue
        total += 1
        if mine[False] >= 0 and mine[False] not in taken:
            taken.add(mine[False])
            right += 1
        precision.append(right / total)
        recall.append(right / positives if positives else 0.0)
    if points:
        levels = [k / (points - 1) for k in range(points)]
        best_at = [
            max((p for p, r in zip(precision, recall, strict=True) if r >= level), default=0)
            for level in levels
        ]
        return sum(best_at) / points
    area, before = 0.0, 0.0
    for k, level in enumerate(recall):
        area += (level - before) * max(precision[k:])
        before = level
    return area
