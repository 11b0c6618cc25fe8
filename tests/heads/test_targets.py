"""Which of several objects Darknet would have left at an anchor, with rows of padding."""

import pytest
import torch

from darknet_torch.heads.base import constant
from darknet_torch.heads.targets import objects_of, same_place, written
from darknet_torch.layers.truth import Truth

PLACE = torch.tensor([4, 1, 4, 4, 1, 0])
THERE = torch.tensor([True, True, True, False, False, True])


def test_the_first_and_the_last_row_of_a_place() -> None:
    assert same_place(PLACE, THERE, 5).tolist() == [0, 1, 0, 3, 4, 5]
    assert same_place(PLACE, THERE, 5, last=True).tolist() == [2, 1, 2, 3, 4, 5]
    none = PLACE[:0]
    assert same_place(none, THERE[:0], 5).tolist() == []


def test_padding_is_not_written() -> None:
    into = torch.zeros(2, 3)
    values = torch.tensor([7.0, 8.0, 7.0, 1.0, 2.0, 9.0])
    assert written(into, PLACE, THERE, values).tolist() == [[9, 8, 0], [0, 7, 0]]
    assert written(into, PLACE, THERE, 1.0).tolist() == [[1, 1, 0], [0, 1, 0]]
    assert not into.any()


def test_rows_of_objects() -> None:
    """Of two images: an object, one of an unknown class, one without a box; no object."""
    truth = Truth.empty(2, 5)
    truth.valid[0, :3] = True
    truth.boxes[0, :3], truth.boxes[0, 3:] = torch.tensor([0.5, 0.5, 0.2, 0.3]), torch.nan
    truth.class_id[0, :3] = torch.tensor([1, 9, 0])
    truth.has_box[0, 2] = False
    rows = objects_of(truth, 2, 4)
    assert rows.there.tolist() == [True, False, False] + 3 * [False]  # as far as the longest image
    assert rows.image.tolist() == [0, 0, 0, 1, 1, 1]
    assert rows.class_id.tolist() == [1, -1, 0, 0, 0, 0]
    assert rows.boxes.isfinite().all() and rows.by_image.shape == (2, 3, 4)
    assert objects_of(truth, 2, 4, keep_unknown=True).there.tolist()[:3] == [True, True, False]
    assert objects_of(truth, 2, 4, class_map=(1, 0)).class_id.tolist()[:3] == [0, -1, 1]


def test_a_constant_has_the_type_of_the_other_tensor() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    assert constant((1, 2), like).dtype == torch.float64
    assert constant((1, 2), like, torch.int64).dtype == torch.int64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card here")
def test_a_card_has_a_constant_once() -> None:
    like = torch.zeros(1, device="cuda")
    with torch.inference_mode():
        first = constant([(1, 2), [3, 4]], like)
    assert first.tolist() == [[1, 2], [3, 4]] and first.device == like.device
    assert constant([[1, 2], (3, 4)], like) is first and not first.is_inference()
    assert constant([[1, 2], (3, 4)], like, torch.int64).dtype == torch.int64
