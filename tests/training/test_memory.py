"""How many images fit into memory at once: counted on a processor, tried on a card."""

import pytest
import torch
from torch import Tensor, nn

from darknet_torch.errors import UsageError
from darknet_torch.training import memory
from darknet_torch.training.memory import fitting_subdivisions, kept_bytes


class Net(nn.Module):
    """Keeps the input of a convolution and of its activation: 2 x 4 x 1024 bytes an image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)

    def loss(self, images: int) -> Tensor:
        """Return the loss of some images of 32 x 32."""
        return self.conv(torch.rand(images, 1, 32, 32)).square().sum()


def test_what_a_backward_pass_needs_is_counted() -> None:
    net = Net()
    for images in (1, 3):
        assert kept_bytes(lambda count=images: net.loss(count), net) == images * 2 * 4096  # type: ignore[misc]


@pytest.mark.parametrize(
    ("images", "wanted", "fewest", "ranks", "expected"),
    [
        (100, 1, False, 1, 1),
        (100, 4, False, 1, 4),
        (100, 4, True, 1, 1),
        (5, 1, False, 1, 2),
        (5, 1, False, 4, 4),
        (1, 1, True, 1, 8),
    ],
)
def test_the_subdivisions_that_fit(
    monkeypatch: pytest.MonkeyPatch,
    images: int,
    wanted: int,
    fewest: bool,
    ranks: int,
    expected: int,
) -> None:
    net = Net()
    free = (1.5 * 8192 * images + 3 * 4 + 1) / memory.SHARE
    monkeypatch.setattr(memory, "available_bytes", lambda: free)
    count = fitting_subdivisions(8, wanted, net.loss, net, ranks=ranks, fewest=fewest)
    assert count == expected


def test_no_image_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    monkeypatch.setattr(memory, "available_bytes", lambda: 100)
    with pytest.raises(UsageError, match="a single image does not fit into memory"):
        fitting_subdivisions(8, 1, net.loss, net)


def test_a_card_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    net, tried = Net(), list[int]()

    def loss(images: int) -> Tensor:
        tried.append(images)
        if images > 2:
            raise torch.OutOfMemoryError
        return net.loss(images)

    assert [memory._fits_on_card(n, loss, net) for n in (8, 4, 2)] == [False, False, True]
    assert net.conv.weight.grad is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card here")
def test_memory_is_set_aside_on_a_card() -> None:
    net = Net().cuda()
    kept = memory._set_aside(net)
    assert kept.is_cuda
    assert kept.nbytes <= memory.MOST_SET_ASIDE + 8


def test_the_free_memory_is_known_here() -> None:
    free = memory.available_bytes()
    assert free is None or free > 1 << 20
