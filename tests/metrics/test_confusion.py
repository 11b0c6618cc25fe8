"""The confusion matrix, by hand and against a loop over all pairs."""

import numpy as np
import pytest
from random_boxes import ground_truth_table, naive_iou, random_tables

from darknet_torch.metrics import confusion
from darknet_torch.metrics.tables import DetectionTable, GroundTruthTable


def test_confusion_by_hand() -> None:
    """Class 0 twice, class 1 detected as 2, class 2 missed, one on background, a low score."""
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]]
    ground_truth = ground_truth_table([(0, 0, boxes[0]), (0, 1, boxes[1]), (0, 2, boxes[2])])
    detections = DetectionTable(
        np.zeros(5),
        np.array([0, 2, 1, 2, 0]),
        np.array([0.9, 0.8, 0.7, 0.1, 0.6]),
        np.array([boxes[0], boxes[1], boxes[3], boxes[2], boxes[0]]),
    )
    want = np.zeros((4, 4), int)
    want[0, 0], want[2, 1], want[3, 2], want[1, 3], want[0, 3] = 1, 1, 1, 1, 1
    assert confusion.matrix(detections, ground_truth, 3).tolist() == want.tolist()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_confusion_pairs_the_largest_overlap_first(seed: int) -> None:
    detections, ground_truth = random_tables(seed, 15, 4)
    got = confusion.matrix(detections, ground_truth, 4, threshold=0.3)
    assert got.tolist() == naive_confusion(detections, ground_truth, 4, 0.3).tolist()
    assert np.trace(got[:4, :4]) > 10


def naive_confusion(
    detections: DetectionTable, ground_truth: GroundTruthTable, classes: int, threshold: float
) -> np.ndarray:
    confident = [i for i in range(len(detections)) if detections.score[i] > threshold]
    pairs = [
        (naive_iou(detections.xyxy[i], ground_truth.xyxy[t]), i, t)
        for i in confident
        for t in range(len(ground_truth))
        if detections.image[i] == ground_truth.image[t]
    ]
    pairs = [each for each in pairs if each[0] > 0.5]
    pairs.sort(key=lambda each: -each[0])
    mine: dict[int, int] = {}
    for _, i, t in pairs:
        if i not in mine and t not in mine.values():
            mine[i] = t
    out = ground_truth.difficult | ground_truth.crowd
    total = np.zeros((classes + 1, classes + 1), int)
    for i in confident:
        if i not in mine:
            total[detections.class_id[i], classes] += 1
        elif not out[mine[i]]:
            total[detections.class_id[i], ground_truth.class_id[mine[i]]] += 1
    for t in set(range(len(ground_truth))) - set(mine.values()):
        total[classes, ground_truth.class_id[t]] += not out[t]
    return total
