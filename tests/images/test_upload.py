"""Copies to a device."""

import pytest
import torch

from darknet_torch.images.upload import upload

needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card here")


def test_nothing_is_copied_to_where_it_is():
    values = torch.rand(3)
    assert upload(values, torch.device("cpu")) is values


@needs_card
def test_copies_while_the_card_computes():
    device = torch.device("cuda")
    values = torch.rand(1 << 20)
    slow = torch.rand(2000, 2000, device=device)
    for _ in range(20):
        slow = slow @ slow
        assert torch.equal(upload(values, device).cpu(), values)
