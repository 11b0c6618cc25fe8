"""The ends of every loss: ground truth of a batch, and a loss whose gradient is given."""

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
