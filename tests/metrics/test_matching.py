"""IoU and best matches, against loops over all pairs."""

import numpy as np
import pytest
from random_boxes import naive_iou, random_tables

from darknet_torch.metrics.matching import PAIRS_PER_BLOCK, best_matches, iou


def test_best_matches_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    detections, ground_truth = random_tables(5, 20, 4)
    once = best_matches(detections, ground_truth, 1.0)
    monkeypatch.setattr("darknet_torch.metrics.matching.PAIRS_PER_BLOCK", 7)
    blocks = best_matches(detections, ground_truth, 1.0)
    assert PAIRS_PER_BLOCK > 7
    for i in range(len(detections)):
        best, mine = 0.0, -1
        for t in range(len(ground_truth)):
            same = (ground_truth.image[t], ground_truth.class_id[t]) == (
                detections.image[i],
                detections.class_id[i],
            )
            value = naive_iou(detections.xyxy[i], ground_truth.xyxy[t], 1.0)
            if same and value > best:
                best, mine = value, t
        for pairs in (once, blocks):
            assert pairs.ground_truth[i] == mine
            assert pairs.iou[i] == pytest.approx(best, abs=1e-12)


def test_iou_without_area_is_zero() -> None:
    flat = np.array([[3.0, 3.0, 3.0, 9.0]])
    assert iou(flat, flat).tolist() == [0.0]
    assert iou(flat, flat, 1.0).tolist() == [1.0]
