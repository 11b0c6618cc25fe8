"""Images that are cropped and resized on a device, a batch together: beside one by one on the CPU.

That no image differs by more than one level is what every test here looks at.
"""

import os
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretended_card import CAN_BE, CardTensor, from_card, pretended_card
from torch import Tensor

import darknet_torch as dt
from darknet_torch.data.dataset import Array, Dataset, GroundTruth, Sample
from darknet_torch.network.plan import Plan
from darknet_torch.training import unplaced
from darknet_torch.training.augment import Geometry
from darknet_torch.training.augment_options import AugmentOptions
from darknet_torch.training.batches import Batch, batches, spare_workers
from darknet_torch.training.first_batch import draw_first_batch
from darknet_torch.training.image_cache import ImageFiles, RamCache, kept_image
from darknet_torch.training.parcels import packed, unpacked
from darknet_torch.training.random_transforms import (
    Randomness,
    plain_geometry,
    random_geometry,
)
from darknet_torch.training.unplaced import Unplaced, UnplacedImages

NONE = torch.empty(0, dtype=torch.uint8)
COLOURS = "hue=.1\nsaturation=1.5\nexposure=1.5\n"


def noise(rng: np.random.Generator, width: int, height: int, channels: int = 3) -> Tensor:
    pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def of_anything(rng: np.random.Generator, size: tuple[int, int], net: tuple[int, int]) -> Geometry:
    """Windows and targets that lie anywhere, the one beside the image, the other beside the net."""
    start = [int(rng.integers(-side, side)) for side in size]
    sides = [int(rng.integers(1, 2 * side)) for side in size]
    place = [float(rng.uniform(-side / 2, side)) for side in net]
    target = [float(rng.uniform(0, 1.4 * side)) for side in net]
    aligned, mirrored, mean = (bool(each) for each in rng.integers(2, size=3))
    window = (start[0], start[1], sides[0], sides[1])
    where = (place[0], place[1], target[0], target[1])
    return Geometry(window, where, mirrored, aligned, mean and aligned)


def of_training(
    rng: np.random.Generator, size: tuple[int, int], net: tuple[int, int], **changes: Any
) -> Geometry:
    options = AugmentOptions(classes=1, **changes)
    return random_geometry(Randomness(rng, rng, rng), options, size, net)


WAYS = {
    "crop, mean colour": {"jitter": 0.3, "mean_border": True},
    "crop, last pixels": {"jitter": 0.3},
    "zoomed": {"jitter": 0.3, "resize": 1.5, "mean_border": True},
    "aspect kept": {"keep_aspect": True, "mean_border": True, "jitter": 0.1},
    "canvas": {"canvas": True, "jitter": 0.4},
    "canvas, not mirrored": {"canvas": True, "flip": False},
}


@pytest.mark.parametrize("way", [*WAYS, "stretched", "letterboxed", "anything"])
def test_placed_together_or_one_by_one(way: str) -> None:
    rng = np.random.default_rng(list(way.encode()))
    for turn in range(25):
        net = int(rng.integers(1, 90)), int(rng.integers(1, 90))
        images = []
        for _ in range(6):
            size = int(rng.integers(1, 140)), int(rng.integers(1, 140))
            if way in WAYS:
                geometry = of_training(rng, size, net, **WAYS[way])
            elif way == "anything":
                geometry = of_anything(rng, size, net)
            else:
                geometry = plain_geometry(way == "letterboxed", size, net)
            image = noise(rng, *size, channels=(3, 3, 1, 4)[turn % 4])
            images.append(Unplaced(image, geometry, (net[1], net[0])))
        together = UnplacedImages.of(images)
        assert together is not None
        for each, made in zip(images, together.on("cpu", NONE), strict=True):
            assert (made.int() - each.now().int()).abs().max() <= 1, each.geometry


def test_a_part_of_the_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    images = [
        Unplaced(noise(rng, 30, 20), of_training(rng, (30, 20), (24, 16)), (16, 24))
        for _ in range(5)
    ]
    together = UnplacedImages.of(images)
    assert together is not None
    whole = together.on("cpu", NONE)
    monkeypatch.setattr("darknet_torch.training.placing.TOGETHER", 2 * 24 * 16)
    assert torch.equal(together.on("cpu", NONE), whole)


def test_placed_images_keep_their_places_among_others() -> None:
    rng = np.random.default_rng(2)
    some = [
        Unplaced(noise(rng, 9, 7), Geometry((0, 0, 9, 7), (0, 0, 8, 8)), (8, 8)) for _ in range(3)
    ]
    others = torch.stack([torch.full((3, 8, 8), value, dtype=torch.uint8) for value in (50, 60)])
    mixed = UnplacedImages.of([some[0], others[0], some[1], some[2], others[1]])
    assert mixed is not None
    made = mixed.on("cpu", others)
    assert torch.equal(made[[1, 4]], others)
    for place, each in zip((0, 2, 3), some, strict=True):
        assert (made[place].int() - each.now().int()).abs().max() <= 1
    assert UnplacedImages.of([others[0]]) is None


def test_what_is_resized_at_once() -> None:
    """Large images, and those with two colours beyond them."""
    image = noise(np.random.default_rng(3), 40, 30)
    small = Unplaced(image, Geometry((0, 0, 40, 30), (0, 0, 20, 20)), (20, 20))
    assert small.if_worthwhile() is small
    large = small._replace(size=(19, 20))
    made = large.if_worthwhile()
    assert isinstance(made, Tensor) and torch.equal(made, large.now())
    two = Geometry((-5, 0, 45, 30), (0, 0, 20, 15), aligned=False, mean=True)
    assert isinstance(small._replace(geometry=two).if_worthwhile(), Tensor)


@pytest.mark.skipif(not CAN_BE, reason="no pretended card with this torch")
def test_nothing_waits_for_a_card() -> None:
    rng = np.random.default_rng(4)
    images: list[Unplaced | Tensor] = [
        Unplaced(noise(rng, 40, 30), of_training(rng, (40, 30), (24, 16), **way), (16, 24))
        for way in WAYS.values()
    ]
    images.insert(2, torch.zeros(3, 16, 24, dtype=torch.uint8))
    together = UnplacedImages.of(images)
    assert together is not None
    others = torch.zeros(1, 3, 16, 24, dtype=torch.uint8)
    here = together.on("cpu", others)
    with pretended_card() as card:
        there = together.on(torch.device("card"), CardTensor(others))
    assert isinstance(there, CardTensor) and not card.waits
    assert torch.equal(from_card(there), here)


# ---- batches


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Nine images of several sizes, with a box each."""
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("drawn"), np.random.default_rng(6)
    samples = []
    for number in range(9):
        width, height = int(rng.integers(60, 130)), int(rng.integers(60, 130))
        pixels: Array = noise(rng, width, height).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")
        truth = GroundTruth(xyxy=[[10, 10, 50, 40]], class_id=[number % 2])
        samples.append(Sample(folder / f"{number}.png", width, height, truth, number + 1))
    return Dataset(("a", "b"), tuple(samples), source="drawn")


def plan(options: str = "", dialect: str = "alexeyab") -> Plan:
    from datasets import DETECTOR_CFG

    cfg = DETECTOR_CFG.replace("width=32\nheight=32", f"width=96\nheight=64\n{options}")
    return dt.plan(cfg, dialect=dialect)


def some(data: Dataset, of: Plan, *, later: bool = True, **settings: Any) -> list[Batch]:
    changes = {"colour_later": later, "place_later": later} | settings.pop("changes", {})
    options = AugmentOptions.of(of, **changes)
    settings = {"batch": 4, "seed": 7, "size_of": lambda _: (64, 96)} | settings
    return list(islice(batches(data, of, options, **settings), 4))


OPTIONS = {
    "crop": ("alexeyab", "", {}),
    "colours": ("alexeyab", COLOURS, {}),
    "mosaic": ("alexeyab", f"mosaic=1\n{COLOURS}", {}),
    "mixup": ("alexeyab", "mixup=1\n", {}),
    "canvas": ("pjreddie", COLOURS, {}),
    "aspect kept": ("alexeyab", "letter_box=1\n", {}),
    "pairs": ("alexeyab", f"contrastive=1\n{COLOURS}", {}),
    "plain": ("alexeyab", "", {"augment": False}),
    "letterboxed": ("pjreddie", "", {"augment": False}),
}


@pytest.mark.parametrize("cache", ["none", "ram"])
@pytest.mark.parametrize("way", OPTIONS)
def test_batches_are_those_of_the_cpu(drawn: Dataset, way: str, cache: str) -> None:
    dialect, options, changes = OPTIONS[way]
    of = plan(options, dialect)
    now = some(drawn, of, later=False, changes=changes)
    later = some(drawn, of, changes=changes, cache=cache)
    assert all(each.unplaced is not None for each in later)
    kept = [each.unplaced is not None and each.unplaced.pixels is None for each in later]
    assert all(kept) == any(kept) == (cache == "ram")
    for one, other in zip(now, (each.on("cpu") for each in later), strict=True):
        difference = (one.images.int() - other.images.int()).abs()
        if "hue" in options:  # a level may become more levels where colours are made stronger
            assert difference.float().mean() < 0.6 and difference.max() <= 12
        else:
            assert difference.max() <= 1
        assert torch.equal(one.truth.boxes, other.truth.boxes) and one.paths == other.paths


@pytest.mark.parametrize("cache", ["none", "ram"])
def test_they_do_not_depend_on_processes(drawn: Dataset, cache: str) -> None:
    of = plan(f"mosaic=1\n{COLOURS}")
    here = some(drawn, of)
    there = some(drawn, of, workers=2, cache=cache)
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.on("cpu").images, other.on("cpu").images)


def test_blur_and_noise_need_the_image_at_once(drawn: Dataset) -> None:
    for changes in ({"blur": 3}, {"gaussian_noise": 5}):
        later = some(drawn, plan(), changes=changes)
        now = some(drawn, plan(), later=False, changes=changes)
        for one, other in zip(now, later, strict=True):
            assert other.unplaced is None and torch.equal(one.images, other.images)


def test_an_image_of_a_cache_is_found_by_its_number(drawn: Dataset) -> None:
    files = ImageFiles(drawn.samples)
    first, second = RamCache(files), RamCache(files)
    assert kept_image(files, 1) is None
    for cache in (first, second):
        kept = kept_image(cache, 1)
        if kept is None:
            pytest.skip("no processes that share memory on this system")
        assert np.shares_memory(kept.pixels(), cache(1).permute(1, 2, 0).numpy())
        assert torch.equal(cache(1), files(1))


def test_the_first_batch_can_be_drawn(drawn: Dataset, tmp_path: Path) -> None:
    of = plan(COLOURS)
    (first, *_) = some(drawn, of, cache="ram")
    network = dt.Network(of)
    network.names = ("a", "b")
    draw_first_batch(first.on("cpu"), network, tmp_path / "first.jpg")
    assert (tmp_path / "first.jpg").stat().st_size > 1000


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_as_many_processes_as_there_are_spare_cores(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for cores, ranks in ((1, 1), (2, 1), (16, 1), (16, 4), (64, 1), (4, 8)):
        mine = set(range(cores))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, mine=mine: mine, raising=False)
        found.append(spare_workers(torch.device(device), ranks))
    assert found == ([0, 1, 1, 1, 1, 1] if device == "cpu" else [0, 1, 15, 3, 24, 0])


def test_a_parcel_has_small_tensors_inside() -> None:
    small, large = torch.arange(6).view(2, 3), torch.zeros(70_000, dtype=torch.uint8)
    for each in (small, small > 2, small[:, 1:], torch.empty(0, 4)):
        message, files = packed({"a": [each, large, None]})
        assert len(files) == 1 and files[0] is large
        opened = unpacked(message, files)
        assert torch.equal(opened["a"][0], each) and opened["a"][1] is large


def test_pixels_lie_one_behind_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """In pinned memory too, which several threads fill; without a card it is like any other."""
    rng, empty = np.random.default_rng(5), torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, pin_memory, dtype: empty(*size, dtype=dtype))
    sizes = [(8, 6), (5, 9), (7, 7), (4, 4), (6, 5), (9, 3), (3, 8)]
    parts = [noise(rng, *size).permute(1, 2, 0).numpy()[1:, 1:3] for size in sizes]
    expected = torch.from_numpy(np.concatenate([part.reshape(-1, 3) for part in parts]))
    for count in range(1, 8):
        length = sum(part.shape[0] * part.shape[1] for part in parts[:count])
        for pinned in (False, True):
            joined = unplaced._joined(parts[:count], pinned=pinned)
            assert torch.equal(joined, expected[:length])
