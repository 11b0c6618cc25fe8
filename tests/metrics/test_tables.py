"""Tables of detections and ground truths: what they refuse."""

import numpy as np
import pytest
from random_boxes import ground_truth_table

from darknet_torch.errors import UsageError
from darknet_torch.metrics import darknet
from darknet_torch.metrics.tables import DetectionTable


def test_invalid_columns_raise() -> None:
    ground_truth = ground_truth_table([(0, 3, [0, 0, 1, 1])])
    detections = DetectionTable(np.zeros(1), np.zeros(1), np.ones(1), np.ones((1, 4)))
    with pytest.raises(UsageError, match="class_id: 3, but there are 3 classes"):
        darknet.match(detections, ground_truth, 3)
    with pytest.raises(UsageError, match=r"score: shape \(1,\) expected, not \(2,\)"):
        DetectionTable(np.zeros(1), np.zeros(1), np.ones(2), np.ones((1, 4)))
    with pytest.raises(UsageError, match="not NaN or infinity"):
        DetectionTable(np.zeros(1), np.zeros(1), np.array([np.nan]), np.ones((1, 4)))
    with pytest.raises(UsageError, match="image: -1 is below 0"):
        DetectionTable(-np.ones(1), np.zeros(1), np.ones(1), np.ones((1, 4)))
