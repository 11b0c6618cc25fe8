"""Batches of training examples: the same in any process, and boxes that lie on their pixels."""

import multiprocessing
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import DETECTOR_CFG, lay
from PIL import Image

import darknet_torch as dt
from darknet_torch.data.dataset import Dataset, GroundTruth, Sample
from darknet_torch.errors import DataError, UsageError
from darknet_torch.images.reading import read
from darknet_torch.images.resizing import center_crop, letterbox, resize, resize_min
from darknet_torch.layers.truth import NO_LABEL
from darknet_torch.layers.word_tree import Tree
from darknet_torch.network.plan import Plan
from darknet_torch.training import image_cache
from darknet_torch.training.augment_options import AugmentOptions
from darknet_torch.training.batches import Batch, batches
from darknet_torch.training.class_examples import class_values
from darknet_torch.training.image_cache import cache_bytes
from darknet_torch.training.multiscale import SizeSchedule
from darknet_torch.training.random_transforms import Randomness, random_colour, random_geometry
from darknet_torch.training.sampler import Sampler, rare_class_weights

SIZE = (160, 120)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Twelve dark images, each with one bright rectangle of the colour of its class."""
    folder, rng = tmp_path_factory.mktemp("drawn"), np.random.default_rng(5)
    samples = []
    for number in range(12):
        pixels = np.full((SIZE[1], SIZE[0], 3), 10, np.uint8)
        left, top = rng.integers(20, 70), rng.integers(15, 50)
        right, bottom = left + rng.integers(30, 60), top + rng.integers(25, 50)
        pixels[top:bottom, left:right, number % 2] = 250
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        truth = GroundTruth(xyxy=[[left, top, right, bottom]], class_id=[number % 2])
        samples.append(Sample(path, *SIZE, truth, number + 1))
    return Dataset(("red", "green"), tuple(samples), source="drawn")


def plan(options: str = "", *, dialect: str = "alexeyab", head: str = "") -> Plan:
    cfg = DETECTOR_CFG.replace("width=32\nheight=32", f"width=96\nheight=64\n{options}")
    return dt.plan(cfg + head, dialect=dialect)


def some(data: Dataset, of: Plan, count: int = 2, **arguments: Any) -> list[Batch]:
    changes = arguments.pop("changes", {})
    settings = {"batch": 4, "seed": 7, "size_of": SizeSchedule(of, 7)} | arguments
    made = batches(data, of, AugmentOptions.of(of, **changes), **settings)
    return list(islice(made, count))


def same(first: Batch, second: Batch) -> bool:
    names = ("boxes", "class_id", "valid", "has_box")
    return (
        torch.equal(first.images, second.images)
        and first.paths == second.paths
        and all(torch.equal(getattr(first.truth, n), getattr(second.truth, n)) for n in names)
    )


def test_batches_do_not_depend_on_processes_or_restarts(drawn: Dataset) -> None:
    of = plan("mosaic=1\nhue=.1\nsaturation=1.5\nexposure=1.5\n")
    here = some(drawn, of, 4)
    assert not same(here[0], here[1])
    for each, other in zip(here, some(drawn, of, 4, workers=2, cache="ram"), strict=True):
        assert same(each, other)
    for each, other in zip(here[2:], some(drawn, of, 2, start=2), strict=True):
        assert same(each, other)


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="not told here who sends a signal")
def test_workers_end_by_their_parent_alone(drawn: Dataset) -> None:
    """Ctrl-C, `timeout` and schedulers ask all processes to end; the last batch needs workers."""
    of = plan()
    made = batches(
        drawn, of, AugmentOptions.of(of), batch=1, seed=7, workers=1, size_of=SizeSchedule(of, 7)
    )
    next(made)
    (worker,) = multiprocessing.active_children()
    for name in ("INT", "TERM"):  # from a process that is not the parent
        subprocess.run(["sh", "-c", f"kill -{name} {worker.pid}"], check=True)
    assert len(list(islice(made, 20))) == 20
    assert worker.is_alive()
    worker.terminate()
    worker.join(30)
    assert not worker.is_alive()


def test_ranks_share_the_global_batch(drawn: Dataset) -> None:
    of = plan("hue=.1\n")
    (whole,) = some(drawn, of, 1)
    for ranks in (2, 3, 4):
        parts = [some(drawn, of, 1, rank=rank, ranks=ranks)[0] for rank in range(ranks)]
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
        assert sum((part.paths for part in parts), ()) == whole.paths


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_cache_changes_no_batch(drawn: Dataset, tmp_path: Path, cache: str) -> None:
    of = plan()
    uncached = some(drawn, of, 4)
    for _ in range(2):  # once it fills the cache, once it reads it
        cached = some(drawn, of, 4, cache=cache, cache_folder=tmp_path)
        assert all(map(same, uncached, cached))
    files = list(tmp_path.iterdir())
    assert len(files) == (12 if cache == "disk" else 0)
    for each in files:
        each.write_bytes(each.read_bytes()[:-1])  # damaged ones are written again
    assert all(map(same, uncached, some(drawn, of, 4, cache=cache, cache_folder=tmp_path)))


def test_a_cache_that_is_too_large_is_refused(
    drawn: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_bytes(drawn.samples) == 12 * 160 * 120 * 3
    monkeypatch.setattr(image_cache, "available_bytes", lambda: 1000)
    with pytest.raises(UsageError, match=r"cache=ram: 0.00 GB of decoded images"):
        some(drawn, plan(), cache="ram")
    with pytest.raises(UsageError, match="a folder"):
        some(drawn, plan(), cache="disk")
    huge = Dataset(drawn.names, (Sample(tmp_path / "a", 10**7, 10**7, GroundTruth.empty(), 1),))
    with pytest.raises(UsageError, match=f"cache=disk: {tmp_path}: 300000.00 GB"):
        some(huge, plan(), cache="disk", cache_folder=tmp_path)


WAYS = {
    "crop": ("alexeyab", "", {"flip": False}),
    "crop, zoomed": ("alexeyab", "", {"resize": 1.5, "jitter": 0.3}),
    "crop, aspect kept": ("alexeyab", "letter_box=1\n", {}),
    "canvas": ("pjreddie", "", {}),
    "mosaic": ("alexeyab", "mosaic=1\n", {"resize": 1.3}),
    "mosaic, bound": ("alexeyab", "mosaic=1\nmosaic_bound=1\n", {}),
    "plain": ("alexeyab", "", {"augment": False}),
    "letterboxed": ("pjreddie", "", {"augment": False}),
}


@pytest.mark.parametrize("way", WAYS)
def test_boxes_lie_on_their_pixels(drawn: Dataset, way: str) -> None:
    """The bright pixels of a box's class fill it, and there are none outside of all boxes."""
    dialect, options, changes = WAYS[way]
    of = plan(options, dialect=dialect)
    seen = 0
    for batch in some(drawn, of, 12, changes=changes):
        height, width = batch.images.shape[2:]
        for image, boxes, classes, valid in zip(
            batch.images, batch.truth.boxes, batch.truth.class_id, batch.truth.valid, strict=True
        ):
            bright = image[:2] > 150
            outside = bright.clone()
            for (x, y, w, h), class_id in zip(boxes[valid].tolist(), classes[valid], strict=True):
                left, right = (x - w / 2) * width, (x + w / 2) * width
                top, bottom = (y - h / 2) * height, (y + h / 2) * height
                inner = bright[class_id, _inner(top, bottom), _inner(left, right)]
                if inner.numel() and "mosaic" not in way:
                    assert inner.float().mean() > 0.95
                if inner.numel() and way == "mosaic, bound":
                    assert inner.float().mean() > 0.6  # its edges may be fill
                outside[:, _outer(top, bottom), _outer(left, right)] = False
                seen += inner.numel() > 20
            assert int(outside.sum()) <= 40, way  # objects below a pixel are left out
    assert seen > 30


def _inner(start: float, end: float) -> slice:
    return slice(int(start) + 2, max(int(end) - 2, int(start) + 2))


def _outer(start: float, end: float) -> slice:
    return slice(max(int(start) - 2, 0), int(end) + 3)


def test_random_parameters_have_darknets_bounds() -> None:
    rng = np.random.default_rng(3)
    rngs = Randomness(rng, rng, rng)
    options = AugmentOptions(classes=1, hue=0.1, saturation=1.5, exposure=2.0, jitter=0.3)
    colours = np.array([random_colour(rng, options) for _ in range(2000)])
    np.testing.assert_allclose(colours.min(0), (-0.1, 1 / 1.5, 0.5), atol=0.01)
    np.testing.assert_allclose(colours.max(0), (0.1, 1.5, 2), atol=0.01)
    assert 0.45 < (colours[:, 1] < 1).mean() < 0.55
    windows = [random_geometry(rngs, options, (200, 100), (64, 64)) for _ in range(2000)]
    left, top, width, height = np.array([each.window for each in windows]).T
    assert (left.min(), left.max(), top.min(), top.max()) == pytest.approx(
        (-59, 59, -29, 29), abs=2
    )
    assert 80 <= width.min() < 110 and 290 < width.max() <= 320
    assert 0.45 < np.mean([each.flip for each in windows]) < 0.55
    canvas = [
        random_geometry(rngs, replace(options, canvas=True), (200, 100), (64, 64))
        for _ in range(2000)
    ]
    left, top, width, height = np.array([each.target for each in canvas]).T
    ratio = width / height
    assert 140 / 130 <= ratio.min() < 1.2 and 3.3 < ratio.max() <= 260 / 70
    assert (width == 64).all() and (left == 0).all()
    assert (top >= 0).all() and (top + height <= 64 + 1e-9).all()


def test_without_augmentation_a_batch_is_what_detectors_see(drawn: Dataset) -> None:
    for dialect in ("alexeyab", "pjreddie"):
        of = plan("hue=.1\n", dialect=dialect)
        (batch,) = some(drawn, of, 1, changes={"augment": False})
        resized = letterbox if dialect == "pjreddie" else resize
        for image, path in zip(batch.images, batch.paths, strict=True):
            wanted = resized(read(path), 96, 64) * 255
            assert (image.float() - wanted).abs().max() <= 1.01


def test_objects_that_are_left_out(tmp_path: Path) -> None:
    lay(tmp_path, {"a.png": b""})
    rows = [
        [1, 1, 11, 11],
        [2, 2, 9, 9],
        [3, 3, 8, 8],
        [-5, -5, 5, 5],
        [0, 0, 40, 20],
        [1, 1, 1.5, 9],
    ]
    truth = GroundTruth(
        xyxy=rows,
        class_id=[0, 1, 0, 1, 7, 0],
        difficult=[False, True, False, False, False, False],
        crowd=[False, False, True, False, False, False],
    )
    data = Dataset(("a", "b"), (Sample(tmp_path / "a.png", 40, 20, truth, 1),))
    plain = {"augment": False}

    def boxes(dialect: str, **changes: Any) -> int:
        (batch,) = some(data, plan(dialect=dialect), 1, batch=1, changes=plain | changes)
        return int(batch.truth.valid.sum())

    assert boxes("alexeyab") == 2  # half a pixel of 40 is 1.2 of 96
    assert boxes("alexeyab", smallest=0.02) == 1
    assert boxes("alexeyab", difficult=True, crowd=True) == 4
    assert boxes("alexeyab", max_objects=1) == 1
    (batch,) = some(data, plan(dialect="pjreddie"), 1, batch=1, changes=plain)
    assert batch.truth.has_box.tolist() == [[True, False, True]]
    assert batch.truth.boxes[0, 1].tolist() == [0, 0, 0, 0]


def test_v1_reads_all_objects() -> None:
    """Darknet's [detection] has an option `max`, but its reader of labels does not heed it."""
    counts = {
        name: AugmentOptions.of(dt.plan(name)).max_objects for name in ("yolov1-tiny", "yolov2")
    }
    assert counts == {"yolov1-tiny": sys.maxsize, "yolov2": 30}


def test_an_image_that_cannot_be_read_is_named(drawn: Dataset, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    sample = replace(drawn.samples[0], path=bad)
    for workers in (0, 1):
        with pytest.raises(DataError, match=rf"^{bad}: empty, or not an image"):
            some(Dataset(drawn.names, (sample,)), plan(), workers=workers)
    other = Dataset(drawn.names, (replace(drawn.samples[0], width=99),))
    with pytest.raises(DataError, match="160x120 pixels, 99x120 when the data set was read"):
        some(other, plan())
    with pytest.raises(DataError, match="no image to train with"):
        some(Dataset(("a",), (), source="empty.yaml"), plan())


def test_arguments_that_cannot_be() -> None:
    data = Dataset(("a",), ())
    with pytest.raises(UsageError, match="letter_box=1 with mosaic=1"):
        AugmentOptions.of(plan("letter_box=1\nmosaic=1\n"))
    with pytest.raises(UsageError, match="cutmix=1: is for classifiers"):
        AugmentOptions.of(plan("cutmix=1\n"))
    with pytest.raises(UsageError, match="jiter: no option"):
        AugmentOptions.of(plan(), jiter=1)
    for wrong in (
        {"rank": 2, "ranks": 2},
        {"ranks": 5},
        {"workers": -1},
        {"seed": -1},
        {"batch": 0},
    ):
        with pytest.raises(UsageError, match=f"{next(iter(wrong))}="):
            some(data, plan(), **wrong)
    with pytest.raises(UsageError, match="joint_share=1: must be"):
        some(data, plan(), joint=data, joint_share=1)


def test_blur_noise_and_mixup_change_pixels_only(drawn: Dataset) -> None:
    of = plan()
    changes: dict[str, Any] = {"jitter": 0.0, "flip": False, "blur": 31, "gaussian_noise": 20}
    plain = some(drawn, of, 2, changes={"jitter": 0.0, "flip": False})
    noisy = some(drawn, of, 2, changes=changes)
    for each, other in zip(plain, noisy, strict=True):
        assert torch.equal(each.truth.boxes.sort(1)[0], other.truth.boxes.sort(1)[0])
        assert not torch.equal(each.images, other.images)
    mixed = some(drawn, of, 6, changes={"mixup": True})
    counts = torch.cat([each.truth.valid.sum(1) for each in mixed])
    assert set(counts.tolist()) == {1, 2}


def test_classifiers_have_one_hot_vectors(drawn: Dataset) -> None:
    data = replace(
        drawn, samples=tuple(replace(s, label=i % 2) for i, s in enumerate(drawn.samples))
    )
    cfg = "[net]\nwidth=32\nheight=32\nchannels=3\nangle=7\naspect=.75\nmax_crop=48\n{}"
    cfg += "[convolutional]\nfilters=2\nsize=1\n[avgpool]\n[softmax]\n"
    of = dt.plan(cfg.format("label_smooth_eps=.1\n"), dialect="alexeyab")
    for batch in some(data, of, 3):
        assert batch.images.shape == (4, 3, 32, 32)
        assert batch.truth.boxes.shape == (4, 0, 4)
        labels = torch.tensor([int(path.stem) % 2 for path in batch.paths])
        wanted = torch.where(torch.eye(2)[labels] > 0, 0.9, 0.1)
        torch.testing.assert_close(batch.truth.values, wanted)
    for way in ("mixup", "cutmix", "mosaic"):
        of = dt.plan(cfg.format(f"{way}=1\n"), dialect="alexeyab")
        values = torch.cat([each.truth.values for each in some(data, of, 8)])
        torch.testing.assert_close(values.sum(1), torch.ones(32))
        assert ((values > 0.01) & (values < 0.99)).any()
    (batch,) = some(data, of, 1, changes={"augment": False})
    for image, path in zip(batch.images, batch.paths, strict=True):
        wanted = center_crop(resize_min(read(path), 32), 32, 32) * 255
        assert (image.float() - wanted).abs().max() <= 0.51
    with pytest.raises(DataError, match="no image with a class"):
        some(drawn, of)


def test_a_word_tree_knows_the_ancestors_of_a_class() -> None:
    tree = Tree(("animal", "thing", "cat", "dog", "car"), (-1, -1, 0, 0, 1))
    assert class_values(3, 5, 0.0, tree).tolist() == [1, 0, 0, 1, NO_LABEL]
    assert class_values(1, 5, 0.0, tree).tolist() == [0, 1, NO_LABEL, NO_LABEL, NO_LABEL]


def test_joint_batches_have_images_without_boxes(drawn: Dataset) -> None:
    classes = Dataset(drawn.names, tuple(replace(s, label=1) for s in drawn.samples[:3]))
    made = some(drawn, plan(), 3, joint=classes, joint_share=0.25)
    for batch in made:
        assert (~batch.truth.has_box & batch.truth.valid).any(1).sum() == 1
        assert (batch.truth.boxes[~batch.truth.has_box] == 0).all()
    paths = [path for batch in made for path in batch.paths]
    assert len(set(paths[3::4])) == 3  # each image of the second set once


def test_each_epoch_has_each_image_once() -> None:
    sampler = Sampler(10, seed=3)
    epochs = [[sampler[i] for i in range(10 * e, 10 * e + 10)] for e in range(3)]
    assert all(sorted(each) == list(range(10)) for each in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [Sampler(10, seed=3)[i] for i in range(20, 30)] == epochs[2]


def test_images_with_rare_classes_come_more_often(drawn: Dataset) -> None:
    rare = [GroundTruth(xyxy=[[1, 1, 9, 9]], class_id=[int(i == 0)]) for i in range(12)]
    samples = [replace(s, ground_truth=g) for s, g in zip(drawn.samples, rare, strict=True)]
    weights = rare_class_weights(Dataset(drawn.names, tuple(samples)))
    np.testing.assert_allclose(weights, [11**0.5, *[1] * 11])
    sampler = Sampler(12, 1, weights)
    counts = np.bincount([sampler[i] for i in range(12 * 50)], minlength=12) / 50
    np.testing.assert_allclose(counts, 12 * weights / weights.sum(), atol=0.2)


def test_sizes_of_batches() -> None:
    wide = "batch=64\nmax_batches=1000\n"
    head = "random=1\n"
    assert SizeSchedule(plan(wide), 1)(5) == (64, 96)
    canvas = SizeSchedule(plan(wide, dialect="pjreddie", head=head), 1)
    sizes = [canvas(number) for number in range(800)]
    assert {h for h, w in sizes} == set(range(320, 609, 32)) and all(h == w for h, w in sizes)
    assert all(sizes[i] == sizes[i // 10 * 10] for i in range(800))
    assert {canvas(number) for number in range(810, 1000)} == {(608, 608)} == {canvas.largest}
    scaled = SizeSchedule(plan(wide, head=head), 1)
    sizes = [scaled(number) for number in range(1000)]
    largest = (round(1.4 * 64 / 32) + 1) * 32, (int(1.4 * 96 / 32 + 0.5) + 1) * 32
    assert scaled.largest == largest
    assert set(sizes[:10]) == set(sizes[910:]) == {largest} != set(sizes[:100])
    assert all(sizes[i] == sizes[i // 10 * 10] for i in range(1000))
    assert len(set(sizes)) > 3 and max(sizes) == largest
    assert all(h % 32 == w % 32 == 0 for h, w in sizes)
    assert SizeSchedule(plan(wide, head=head), 1, fixed=True)(500) == (64, 96)
    assert not SizeSchedule(plan(wide, head="random=0\n"), 1).varies


def growing() -> SizeSchedule:
    return SizeSchedule(plan("dynamic_minibatch=1\nmax_batches=1000\n", head="random=1\n"), 1)


def test_mini_batches_of_smaller_images_have_more() -> None:
    sizes = growing()
    assert sizes.largest == (128, 160)
    seen = {sizes(number): sizes.images(number, 3) for number in range(1000)}
    # room for 3 * 128 * 160 / (height * width); four fifths of it, if that is more than 3
    assert seen == {(128, 160): 3, (96, 160): 4, (96, 128): 4, (64, 96): 8}
    assert sizes.images(0, 3) == 3
    plain = SizeSchedule(plan("max_batches=1000\n", head="random=1\n"), 7)
    assert {plain.images(number, 3) for number in range(1000)} == {3}
    pairs = SizeSchedule(plan("dynamic_minibatch=1\ncontrastive=1\n", head="random=1\n"), 7)
    assert {pairs.images(number, 4) for number in range(0, 1000, 10)} == {4, 6, 10}


def test_batches_of_several_counts_use_each_image_once_in_an_epoch(drawn: Dataset) -> None:
    sizes, first = growing(), 8
    settings: dict[str, Any] = {"size_of": sizes, "images_of": lambda n: 2 * sizes.images(n, 2)}
    of, lengths = sizes.plan, [2 * sizes.images(number, 2) for number in range(13)]
    assert lengths[:10] == [4] * 10 and lengths[10] > 4
    whole = some(drawn, of, 13, **settings)
    assert [len(batch) for batch in whole] == lengths
    assert [batch.images.shape[2:] for batch in whole] == [sizes(number) for number in range(13)]
    order = [path for batch in whole for path in batch.paths]
    epochs = [order[i : i + 12] for i in range(0, len(order) - 11, 12)]
    assert all(len(set(each)) == 12 for each in epochs)
    later = some(drawn, of, 5, start=first, workers=1, **settings)
    assert all(same(a, b) for a, b in zip(whole[first:], later, strict=True))
    halves = [some(drawn, of, 13, rank=rank, ranks=2, **settings)[12] for rank in range(2)]
    assert halves[0].paths + halves[1].paths == whole[12].paths
    assert torch.equal(torch.cat([each.images for each in halves]), whole[12].images)


@pytest.mark.parametrize("way", ["", "mosaic=1\n"])
def test_colours_may_be_changed_later(drawn: Dataset, way: str) -> None:
    of = plan(f"{way}hue=.1\nsaturation=1.5\nexposure=1.5\n")
    for now, later in zip(
        some(drawn, of, 3), some(drawn, of, 3, changes={"colour_later": True}), strict=True
    ):
        assert later.colours is not None and not torch.equal(now.images, later.images)
        changed = later.on("cpu")
        assert (changed.images.int() - now.images.int()).abs().max() <= 1
        assert torch.equal(changed.truth.boxes, now.truth.boxes) and changed.colours is None


@pytest.mark.parametrize("own", ["", "contrastive_jit_flip=1\n", "contrastive_color=1\n"])
def test_pairs_are_the_same_image_twice(drawn: Dataset, own: str) -> None:
    of = plan(f"contrastive=1\nhue=.1\nsaturation=1.5\nexposure=1.5\n{own}")
    made = some(drawn, of, 6, batch=4)
    paths = [path for batch in made for path in batch.paths]
    assert paths[::2] == paths[1::2] and len(set(paths)) == 12  # each image once in an epoch
    moved, coloured = [], []
    for batch in made:
        ids = batch.truth.object_id
        assert ids is not None
        for first in (0, 2):
            assert torch.equal(ids[first], ids[first + 1])
            boxes = batch.truth.boxes[first : first + 2, 0]
            moved.append(not torch.equal(boxes[0], boxes[1]))
            coloured.append(not _same_colour(batch.images[first], batch.images[first + 1]))
        assert ids[0, 0] != ids[2, 0] or batch.paths[0] == batch.paths[2]
    assert any(moved) == ("jit" in own) and any(coloured) == ("color" in own)


def _same_colour(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether the brightest pixels of two images have the same colour, but for rounding."""
    pixels = [each.flatten(1).float() for each in (one, other)]
    colours = [each[:, each.sum(0).argmax()] for each in pixels]
    return bool((colours[0] - colours[1]).abs().max() < 3)


def test_pairs_need_no_class(drawn: Dataset) -> None:
    cfg = "[net]\nwidth=32\nheight=32\nchannels=3\ncontrastive=1\n"
    of = dt.plan(f"{cfg}[avgpool]\n[contrastive]\nclasses=5\n", dialect="alexeyab")
    (batch,) = some(drawn, of, 1, size_of=lambda _: (32, 32))
    assert batch.truth.values is not None and batch.truth.values.shape == (4, 5)
    assert not batch.truth.values.any()
    assert batch.paths[0] == batch.paths[1] != batch.paths[2]
