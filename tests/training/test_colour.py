"""Changes of colour of uint8 images beside those of float images, which are Darknet's."""

import numpy as np
import pytest
import torch

from darknet_torch.training.colour import Colour, distort

LEVELS = torch.tensor((0, 1, 2, 50, 51, 99, 100, 128, 200, 254, 255), dtype=torch.uint8)
ALL = torch.stack(torch.meshgrid(LEVELS, LEVELS, LEVELS, indexing="ij")).flatten(2)
"""Every grey, primary and pale colour, and some between, (3, 11, 121)."""
COLOURS = (
    Colour(0.1, 1.5, 1.5),
    Colour(0.07, 1 / 1.3, 1 / 1.4),  # brings colours to a hue of exactly 1
    Colour(-0.1, 7, 1 / 3),
    Colour(0, 0, 1),
    Colour(-1e-6, 3, 3),
    Colour(0.5),
    Colour(-1 / 6),
    Colour(1, 1.2, 0),
    Colour(0.03, 3, 100),  # too strong for integers
    Colour(2.03, 1.5, 1.5),
)


def largest_difference(changed: torch.Tensor, image: torch.Tensor, colour: Colour) -> float:
    exact = distort(image.float() / 255, *colour)
    return float((changed.float() - 255 * exact).abs().max())


@pytest.mark.parametrize("colour", COLOURS)
def test_bytes_differ_by_one_level_at_most(colour: Colour) -> None:
    assert largest_difference(distort(ALL, *colour), ALL, colour) <= 1.001


def test_random_changes_differ_by_one_level_at_most() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        colour = Colour(*rng.uniform((-0.5, 0.2, 0.2), (0.5, 3, 3)))
        image = torch.from_numpy(rng.integers(0, 256, (3, 70, 50), dtype=np.uint8))
        assert largest_difference(distort(image, *colour), image, colour) <= 1.001


def test_no_change_of_colour_changes_nothing() -> None:
    assert torch.equal(distort(ALL, *Colour()), ALL)


@pytest.mark.parametrize("block", [300, 1 << 17])
def test_parts_batches_and_layouts_are_the_same(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = distort(ALL, 0.07, 1.3, 1.4)
    monkeypatch.setattr("darknet_torch.training.colour.BLOCK", block)
    batch = torch.stack((ALL, ALL.flip(2)))
    expected = torch.stack((whole, whole.flip(2)))
    assert torch.equal(distort(batch, 0.07, 1.3, 1.4), expected)
    by_pixel = batch.contiguous(memory_format=torch.channels_last)
    assert torch.equal(distort(by_pixel, 0.07, 1.3, 1.4), expected)


def test_every_image_of_a_batch_may_have_a_change_of_its_own() -> None:
    colours = torch.tensor(COLOURS)[:, :, None, None]
    changed = distort(ALL.expand(len(COLOURS), -1, -1, -1), *colours.unbind(1))
    for each, colour in zip(changed, COLOURS, strict=True):
        assert largest_difference(each, ALL, colour) <= 1.001
