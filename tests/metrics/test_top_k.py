"""Top-k accuracy, by hand."""

import numpy as np
import pytest

from darknet_torch.errors import UsageError
from darknet_torch.metrics import top_k


def test_accuracy_by_hand() -> None:
    ranked = np.array([[0, 1], [1, 0], [1, 2], [2, 1]])
    accuracy = top_k.evaluate(ranked, np.array([0, 0, 1, 1]), 3, tops=(1, 2))
    assert accuracy.top == {1: 0.5, 2: 1.0}
    assert accuracy.by_class[:2].tolist() == [0.5, 0.5]
    assert np.isnan(accuracy.by_class[2])
    assert accuracy.images_by_class.tolist() == [2, 2, 0]
    assert accuracy.images == 4


def test_invalid_labels_and_k_raise() -> None:
    with pytest.raises(UsageError, match="labels: 0 to 3, 3 classes"):
        top_k.evaluate(np.zeros((2, 1)), np.array([0, 3]), 3, tops=(1,))
    with pytest.raises(UsageError, match="top 5: must be from 1 to 2"):
        top_k.evaluate(np.zeros((1, 2)), np.array([0]), 3)
