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
    assert accuracy.top1 == 0.5


def test_top1_is_exact_whichever_k_were_asked_for() -> None:
    rng = np.random.default_rng(0)
    ranked = np.argsort(rng.random((97, 7)))
    labels = rng.integers(0, 7, 97)
    every, last = (top_k.evaluate(ranked, labels, 9, tops) for tops in ((1, 5), (5,)))
    assert every.top1 == last.top1 == every.top[1]
    assert top_k.evaluate(ranked[:0], labels[:0], 9, (5,)).top1 == 0


def test_invalid_labels_and_k_raise() -> None:
    with pytest.raises(UsageError, match="labels: 0 to 3, 3 classes"):
        top_k.evaluate(np.zeros((2, 1)), np.array([0, 3]), 3, tops=(1,))
    with pytest.raises(UsageError, match="top 5: must be from 1 to 2"):
        top_k.evaluate(np.zeros((1, 2)), np.array([0]), 3)
