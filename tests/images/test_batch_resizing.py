"""The images of a batch, resized together: the same values as one by one."""

from types import SimpleNamespace

import pytest
import torch

from darknet_torch.images import batch_resizing
from darknet_torch.images.batch_resizing import resize_batch
from darknet_torch.images.resizing import (
    center_crop,
    cropping,
    letterbox,
    letterboxing,
    resize,
    resize_min,
    stretching,
)

SIZES = [(48, 64), (45, 30), (1, 1), (200, 3), (50, 60), (416, 416)]
ONE_BY_ONE = {
    stretching: resize,
    letterboxing: letterbox,
    cropping: lambda image, w, h: center_crop(resize_min(image, w), w, h),
}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("fitting", ONE_BY_ONE)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("width", "height"), [(41, 41), (64, 32), (9, 70)])
def test_as_one_by_one(fitting, channels, width, height, device):
    generator = torch.Generator().manual_seed(channels)
    images = [
        torch.randint(0, 256, (h, w, channels), dtype=torch.uint8, generator=generator).permute(
            2, 0, 1
        )
        for h, w in SIZES
    ]
    images[1] = images[1].contiguous()
    fits = [fitting(image.shape[2], image.shape[1], width, height) for image in images]
    batch = resize_batch(images, fits, torch.device(device))
    assert batch.is_contiguous() and batch.device.type == device
    expected = torch.stack([ONE_BY_ONE[fitting](image, width, height) for image in images])
    torch.testing.assert_close(batch.cpu(), expected, atol=2e-7, rtol=0)


def test_images_that_lie_one_behind_the_other_are_copied_together() -> None:
    group = torch.arange(3 * 30, dtype=torch.uint8)
    shapes = [(2, 3), (1, 4), (2, 2)]
    images, start = [], 0
    for height, width in shapes:
        size = 3 * height * width
        images.append(group[start : start + size].view(height, width, 3).permute(2, 0, 1))
        start += size
    planar = torch.zeros(3, 2, 2, dtype=torch.uint8)
    alone = torch.ones(2, 2, 3, dtype=torch.uint8).permute(2, 0, 1)
    given = [*images, planar, alone, images[1], images[0]]
    runs = batch_resizing._runs(given)
    assert [len(each) for each in runs] == [14, 4, 4, 4, 6]
    assert runs[0].data_ptr() == group.data_ptr()
    pixels = [image.permute(1, 2, 0).reshape(-1, 3) for image in given]
    assert torch.equal(torch.cat(runs), torch.cat(pixels))


def test_a_kernel_is_compared() -> None:
    cpu, mix = torch.device("cpu"), batch_resizing._mix
    assert batch_resizing._agree(SimpleNamespace(mix=mix), cpu)
    other = SimpleNamespace(mix=lambda *arguments: mix(*arguments) + 1e-3)
    assert not batch_resizing._agree(other, cpu)


def test_a_kernel_is_used_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    for kernels in (SimpleNamespace(mix=len), None):
        monkeypatch.setattr(batch_resizing, "working_kernels", lambda *_, k=kernels: k)
        chosen = batch_resizing._mixer(torch.device("cuda"))
        assert chosen is (batch_resizing._mix if kernels is None else len)
