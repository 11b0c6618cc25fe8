"""[dropout] and [crop] in training: the identity and the centre at inference only."""

import pytest
import torch

import darknet_torch as dt

NET = "[net]\nwidth=16\nheight=16\nchannels=3\n"


@pytest.mark.parametrize(
    "options", ["probability=.25", "probability=.25\ndropblock=1\ndropblock_size_abs=4"]
)
def test_dropout_keeps_the_mean_in_training(options: str) -> None:
    network = dt.build(f"{NET}[dropout]\n{options}\n")
    x = torch.ones(64, 3, 16, 16)
    assert torch.equal(network(x), x)
    torch.manual_seed(0)
    dropped = network.train()(x)
    assert dropped.mean() == pytest.approx(1, abs=0.05)
    assert (dropped == 0).float().mean() == pytest.approx(0.25, abs=0.06)


def test_dropblock_drops_squares() -> None:
    network = dt.build(f"{NET}[dropout]\nprobability=.1\ndropblock=1\ndropblock_size_rel=.25\n")
    torch.manual_seed(1)
    zeros = (network.train()(torch.ones(8, 3, 16, 16)) == 0).float()
    squares = torch.nn.functional.avg_pool2d(zeros, 4, stride=1) == 1
    covered = torch.nn.functional.max_pool2d(
        torch.nn.functional.pad(squares.float(), (3, 3, 3, 3)), 4, stride=1
    )
    assert zeros.any()
    assert torch.equal(covered, zeros)


def test_crop_takes_a_random_place_in_training() -> None:
    network = dt.build(f"{NET}[crop]\ncrop_width=8\ncrop_height=8\nnoadjust=1\nflip=1\n")
    x = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 3, -1, -1)
    assert torch.equal(network(x), x[:, :, 4:12, 4:12])
    torch.manual_seed(0)
    corners = {float(network.train()(x)[0, 0, 0, 0]) for _ in range(40)}
    assert len(corners) > 20
