"""The ends of every loss: ground truth of a batch, and a loss whose gradient is given."""

from dataclasses import replace

import torch

from darknet_torch.layers.truth import Truth, given_gradient


def test_a_given_gradient_is_what_comes_back() -> None:
    raw = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn_like(raw)
    loss = given_gradient(raw, gradient, torch.tensor(7.0))
    assert loss.item() == 7.0
    (2 * loss).backward()
    assert torch.equal(raw.grad, 2 * gradient)


def test_some_images_of_a_batch() -> None:
    truth = Truth.empty(4, objects=2)
    assert len(truth[1:3]) == 2
    assert truth[1:3].boxes.shape == (2, 2, 4)
    assert truth.to("meta").class_id.is_meta


def test_padding_goes_along() -> None:
    truth = replace(Truth.empty(2, 1), values=torch.ones(2, 3), object_id=torch.ones(2, 1))
    truth.valid[:] = True
    wide = truth.padded(3)
    assert wide.valid.tolist() == [[True, False, False]] * 2
    assert wide.boxes.shape == (2, 3, 4) and wide.class_id.dtype == torch.int64
    assert wide.values is truth.values and wide.object_id is not None
    assert wide.object_id.shape == (2, 3) and wide.masks is None
    assert truth.padded(1) is truth


def test_other_tensors_in_the_same_order() -> None:
    truth = Truth.empty(2, 1)
    doubled = truth.with_tensors([each * 2 for each in truth.tensors()])
    assert torch.equal(doubled.has_box, truth.has_box * 2)
    assert [each.shape for each in doubled.tensors()] == [each.shape for each in truth.tensors()]
