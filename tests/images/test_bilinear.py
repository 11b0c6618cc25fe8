"""Taps, and images that are mixed in strips and in any order of their values in memory."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F

from darknet_torch.images import bilinear
from darknet_torch.images.bilinear import column_taps, last_row, row_taps, sample


def image_of(height: int, width: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * width)
    size = (channels, height, width)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("old", "new"), [(480, 416), (1, 5), (7, 1), (3, 3), (448, 416)])
def test_taps_are_two_neighbours(old, new):
    for taps in (row_taps(old, new), column_taps(old, new)):
        lower, upper = taps.position.unbind(1)
        assert taps.position.shape == taps.weight.shape == (new, 2)
        assert lower.min() >= 0 and upper.max() < old
        assert ((upper - lower).abs() <= 1).all()
        assert torch.allclose(taps.weight[:-1].sum(1), torch.ones(new - 1))
    assert column_taps(old, new).position[-1, 0] == old - 1
    assert column_taps(old, new).weight[-1].tolist() == [1, 0]
    row, weight = last_row(old, new)
    assert row_taps(old, new).position[-1].tolist() == [row, row]
    assert row_taps(old, new).weight[-1].tolist() == [pytest.approx(weight), 0]


@pytest.mark.parametrize("size", [(64, 48), (300, 40), (9, 200)])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_strips_and_layouts_change_nothing(size, channels, monkeypatch):
    image = image_of(*size, channels)
    taps = row_taps(size[0], 30), column_taps(size[1], 20)
    whole = sample(image, *taps)
    by_pixel = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    wider = torch.cat((image, image), dim=2)[:, :, : size[1]]
    tile = by_pixel.permute(1, 2, 0).repeat(1, 2, 1)[:, : size[1]].permute(2, 0, 1)
    monkeypatch.setattr(bilinear, "STRIP", 7 * channels * size[1])
    for same in (image, by_pixel, wider, tile, image.float() / 255):
        torch.testing.assert_close(sample(same, *taps), whole, atol=2e-7, rtol=0)


@pytest.mark.parametrize("size", [(64, 48), (300, 40), (9, 200)])
@pytest.mark.parametrize("by_pixel", [False, True])
def test_mixed_as_float64_does(size, by_pixel, monkeypatch):
    """With torch's functions for bytes and for lines, and without either."""
    image = image_of(*size)
    image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1) if by_pixel else image
    rows, columns = row_taps(size[0], 30), column_taps(size[1], 20)
    assert bilinear.BAG_OF_BYTES is not None and columns.linear == (0, 20)
    got = [sample(image, rows, columns), sample(image, rows, columns._replace(linear=None))]
    monkeypatch.setattr(bilinear, "BAG_OF_BYTES", None)
    got.append(sample(image, rows, columns))
    exact = image.double() / 255
    for dim, taps in ((1, rows), (2, columns)):
        first, second = (exact.index_select(dim, each) for each in taps.position.T)
        shape = (-1, 1) if dim == 1 else (-1,)
        one, other = (each.double().view(shape) for each in taps.weight.T)
        exact = first * one + second * other
    for each in got:
        torch.testing.assert_close(each.double(), exact, atol=1.5e-7, rtol=0)


def test_linear_only_where_torch_rounds_as_darknet_does(monkeypatch):
    assert column_taps.__wrapped__(640, 416).linear == (0, 416)
    monkeypatch.setattr(F, "interpolate", lambda x, size, **_: torch.full((1, 1, size), 0.5))
    assert column_taps.__wrapped__(640, 416).linear is None


@pytest.mark.parametrize("chosen", [range(20), range(3, 12), range(12, 20), (0, 0, 1, 5)])
def test_some_columns(chosen):
    image, rows, columns = image_of(64, 48), row_taps(64, 30), column_taps(48, 20)
    some = columns.at(torch.tensor(chosen))
    assert some.linear == (None if isinstance(chosen, tuple) else (chosen[0], 20))
    wanted = sample(image, rows, columns)[..., list(chosen)]
    torch.testing.assert_close(sample(image, rows, some), wanted, atol=2e-7, rtol=0)


def test_writes_to_a_part():
    image = image_of(20, 30)
    taps = row_taps(20, 10), column_taps(30, 12)
    out = torch.full((3, 14, 16), 9.0)
    assert sample(image, *taps, out[:, 2:12, 3:15]).shape == (3, 10, 12)
    assert torch.equal(out[:, 2:12, 3:15], sample(image, *taps))
    assert (out == 9).sum() == 3 * (14 * 16 - 10 * 12)


def test_in_inference_mode_and_out_of_it():
    """The memory that is used again serves both."""
    with ThreadPoolExecutor(1) as new_thread:

        def both() -> list[torch.Tensor]:
            taps = row_taps(33, 21), column_taps(35, 22)
            with torch.inference_mode():
                inside = sample(image_of(33, 35), *taps)
            return [inside, sample(image_of(33, 35), *taps)]

        inside, outside = new_thread.submit(both).result()
    assert torch.equal(inside, outside)


def test_threads_do_not_share_memory():
    images = [image_of(60 + n, 70) for n in range(8)]
    taps = [(row_taps(60 + n, 50), column_taps(70, 50)) for n in range(8)]
    alone = [sample(image, *each) for image, each in zip(images, taps, strict=True)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            together = pool.map(lambda n: sample(images[n], *taps[n]), range(8))
            assert all(map(torch.equal, alone, together))
