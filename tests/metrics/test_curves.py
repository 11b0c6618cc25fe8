"""Precision, recall and their area, by hand."""

import numpy as np
import pytest

from darknet_torch.errors import UsageError
from darknet_torch.metrics.curves import average_precision, check_points, curve


def test_average_precision_by_hand() -> None:
    one = curve(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 4)
    assert one.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert one.recall.tolist() == [0.25, 0.25, 0.5]
    assert average_precision(one.precision, one.recall) == pytest.approx(0.25 + 0.25 * 2 / 3)
    assert average_precision(one.precision, one.recall, 11) == pytest.approx((3 + 3 * 2 / 3) / 11)
    assert one.f1[0] == pytest.approx(0.4)


def test_other_points_raise() -> None:
    assert [check_points(points) for points in (0, 11, 101)] == [0, 11, 101]
    with pytest.raises(UsageError, match="points=7: must be 0"):
        check_points(7)
