"""Copies to a device."""

import numpy as np
import pytest
import torch

from darknet_torch.images.upload import pinned, pinned_copy, upload, upload_joined

needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card here")
if torch.cuda.is_available():
    torch.cuda.init()


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


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_card)])
@pytest.mark.parametrize("place", ["here", "pinned", "there"])
def test_tensors_are_joined(device: str, place: str) -> None:
    there = torch.device(device)
    parts = [torch.arange(3 * n, dtype=torch.uint8).view(n, 3) for n in (4, 1, 7)]
    move = {
        "here": lambda x: x,
        "pinned": lambda x: pinned(x, there),
        "there": lambda x: x.to(there),
    }
    joined = upload_joined([move[place](each) for each in parts], there)
    assert joined.device.type == device and torch.equal(joined.cpu(), torch.cat(parts))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_card)])
def test_bytes_in_memory_that_a_card_copies_from(device: str) -> None:
    values = np.arange(100, dtype=np.uint8)
    copied = pinned_copy(values, torch.device(device))
    assert np.array_equal(copied.numpy(), values)
    assert copied.is_pinned() == (device == "cuda")


@needs_card
def test_pinned_memory_is_not_given_away_while_it_is_copied() -> None:
    device = torch.device("cuda")
    slow = torch.rand(2000, 2000, device=device)
    joined = []
    for number in range(30):
        slow = slow @ slow
        group = pinned_copy(np.full(1 << 20, number, dtype=np.uint8), device)
        joined.append(upload_joined(group.split(1 << 18), device))
        del group
    for number, each in enumerate(joined):
        assert bool((each == number).all())


def test_a_process_without_the_card_pins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take some hundred MB of the card's memory for itself; one that forks may not."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    values = np.arange(3, dtype=np.uint8)
    assert not pinned_copy(values, torch.device("cuda")).is_pinned()
    tensor = torch.from_numpy(values)
    assert pinned(tensor, torch.device("cuda")) is tensor
