"""Batches of training examples, without end: what the training loop reads.

Batch k depends on the seed, on k and on the data set alone, not on the number of loader processes
or ranks, nor on where the training was started: so it can be resumed anywhere.
"""

import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from darknet_torch.data.dataset import Dataset
from darknet_torch.errors import DarknetError, DataError, UsageError
from darknet_torch.network.plan import Plan
from darknet_torch.safety.interrupt import ends_by_its_parent
from darknet_torch.training.augment_options import AugmentOptions
from darknet_torch.training.class_examples import ClassExamples
from darknet_torch.training.collate import Batch, collate
from darknet_torch.training.detection_examples import DetectionExamples
from darknet_torch.training.examples import Example, MakeExample
from darknet_torch.training.image_cache import DiskCache, ImageFiles, RamCache, ReadImage
from darknet_torch.training.mask_examples import MaskExamples
from darknet_torch.training.random_transforms import Randomness
from darknet_torch.training.sampler import Sampler, rare_class_weights

__all__ = ["Batch", "Cache", "batches", "spare_workers"]

Cache = Literal["none", "ram", "disk"]
"""Where decoded images are kept."""
MOST_WORKERS = 24
"""Processes that read for a graphics card: more of them take memory, and no card waits then."""
AHEAD = 16
"""Batches that are read ahead by all processes together, or one by each where there are more."""


def batches(
    dataset: Dataset,
    plan: Plan,
    options: AugmentOptions,
    *,
    batch: int,
    seed: int,
    start: int = 0,
    workers: int = 0,
    cache: Cache = "none",
    cache_folder: Path | None = None,
    pinned: bool = False,
    weighted: bool = False,
    rank: int = 0,
    ranks: int = 1,
    size_of: Callable[[int], tuple[int, int]],
    images_of: Callable[[int], int] | None = None,
    joint: Dataset | None = None,
    joint_share: float = 0.5,
) -> Iterator[Batch]:
    """Yield batches of augmented images, without end.

    Args:
        dataset: the images and their ground truth.
        plan: of the network.
        options: of the augmentation.
        batch: images of a batch, of all ranks together.
        seed: of all randomness.
        start: number of the first batch.
        workers: processes that read and augment; 0 does it in this one.
        cache: where decoded images are kept: "none", "ram" or "disk".
        cache_folder: of cache="disk".
        pinned: whether batches lie in memory that a graphics card copies from by itself.
        weighted: whether images with rare classes come more often, see `rare_class_weights`.
        rank: of this process, which gets its part of each batch.
        ranks: number of such processes.
        size_of: number of a batch -> (height, width) of its images in pixels.
        images_of: number of a batch -> how many images it has; None: always `batch`.
        joint: a second data set, of images that have a class and no boxes (YOLO9000).
        joint_share: which part of the images comes from it.

    Raises:
        DataError: no image, or one that cannot be read.
        UsageError: an argument has an impossible value.
    """
    if batch < 1 or not 0 <= rank < ranks or ranks > batch:
        raise UsageError(f"batch={batch}, rank={rank}, ranks={ranks}: 0 <= rank < ranks <= batch")
    for name, value in (("workers", workers), ("start", start), ("seed", seed)):
        if value < 0:
            raise UsageError(f"{name}={value}: must be at least 0")
    if not 0 <= joint_share < 1:
        raise UsageError(f"joint_share={joint_share}: must be at least 0, and less than 1")
    kept = partial(_reader, channels=plan.input.c, cache=cache, folder=cache_folder)
    sets = [_labelled(each, options) for each in (dataset, joint) if each is not None]
    sources = tuple(_kind(each, options)(each.samples, kept(each), options) for each in sets)
    weights = rare_class_weights(sets[0]) if weighted else None
    samplers = tuple(
        Sampler(len(each), seed + number, None if number else weights)
        for number, each in enumerate(sets)
    )
    order = _Order(samplers, joint_share, rank, ranks, options.paired)
    keys = _Keys(order, start, size_of, images_of or (lambda _: batch))
    return _load(_Maker(sources, seed, options), keys, workers, pinned)


def spare_workers(device: torch.device, ranks: int = 1) -> int:
    """Return how many processes are to read images: few where they take cores from the network.

    Args:
        device: where the network is.
        ranks: processes of the training on this machine.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    if device.type == "cpu":
        return min(1, cores - 1)
    return max(0, min(MOST_WORKERS, cores // ranks - 1))


class _Key(NamedTuple):
    """What an example depends on, besides the seed."""

    batch: int
    position: int
    source: int
    image: int
    size: tuple[int, int]


class _Order(NamedTuple):
    samplers: tuple[Sampler, ...]
    joint_share: float
    rank: int
    ranks: int
    paired: bool

    def keys(self, number: int, before: int, images: int, size: tuple[int, int]) -> list[_Key]:
        """The keys of this rank's part of a batch, `before` which there were so many images."""
        mine = range(*_part(images, self.rank, self.ranks))
        return [_Key(number, each, *self._image(before + each), size) for each in mine]

    def _image(self, place: int) -> tuple[int, int]:
        if self.paired:  # the second of a pair is the image of the first
            place //= 2
        if len(self.samplers) == 1:
            return 0, self.samplers[0][place]
        before = int(place * self.joint_share)
        if int((place + 1) * self.joint_share) > before:
            return 1, self.samplers[1][before]
        return 0, self.samplers[0][place - before]


class _Maker(TorchDataset[Any]):
    """Makes the examples of keys, in any process; an error is an example, too."""

    def __init__(self, sources: Sequence[MakeExample], seed: int, options: AugmentOptions) -> None:
        self.sources, self.seed = sources, seed
        self.pairs = {
            "paired": options.paired,
            "moves": options.pair_moves,
            "colours": options.pair_colours,
        }

    def __getitem__(self, key: _Key) -> Example | DarknetError:
        rngs = Randomness.of((self.seed, key.batch), key.position, **self.pairs)
        try:
            return self.sources[key.source](rngs, key.image, *key.size)
        except DarknetError as error:
            return error


def _load(maker: _Maker, keys: "_Keys", workers: int, pinned: bool) -> Iterator[Batch]:
    methods = multiprocessing.get_all_start_methods()
    loader: DataLoader[Any] = DataLoader(
        maker,
        batch_sampler=keys,
        num_workers=workers,
        prefetch_factor=max(1, min(2, AHEAD // workers)) if workers else None,
        collate_fn=collate,
        pin_memory=pinned,
        worker_init_fn=_begin_worker,
        multiprocessing_context="fork" if workers and "fork" in methods else None,
        generator=torch.Generator(),  # else it draws from torch's own
    )
    for made in loader:
        if isinstance(made, DarknetError):
            raise made
        yield made


def _begin_worker(_: int) -> None:
    ends_by_its_parent()


class _Keys:
    """The keys of one batch after the other."""

    def __init__(
        self,
        order: _Order,
        start: int,
        size_of: Callable[[int], tuple[int, int]],
        images_of: Callable[[int], int],
    ) -> None:
        self.order, self.start = order, start
        self.size_of, self.images_of = size_of, images_of

    def __iter__(self) -> Iterator[list[_Key]]:
        before = sum(map(self.images_of, range(self.start)))
        for number in itertools.count(self.start):
            images = self.images_of(number)
            yield self.order.keys(number, before, images, self.size_of(number))
            before += images


def _labelled(dataset: Dataset, options: AugmentOptions) -> Dataset:
    """The images that can be trained with: for a classifier those with a class.

    Pairs of [contrastive] need none: the two are alike.
    """
    if not (options.detector or options.paired):
        labels = [sample.label for sample in dataset.samples]
        known = [
            i for i, label in enumerate(labels) if label is not None and label < options.classes
        ]
        dataset = dataset.take(known)
    if not dataset.samples:
        what = "no image" if options.detector else "no image with a class"
        raise DataError(f"{dataset.source}: {what} to train with")
    return dataset


def _reader(dataset: Dataset, *, channels: int, cache: Cache, folder: Path | None) -> ReadImage:
    files = ImageFiles(dataset.samples, channels)
    if cache == "ram":
        return RamCache(files)
    if cache == "disk":
        if folder is None:
            raise UsageError("cache=disk: a folder for the images is needed")
        return DiskCache(files, folder)
    if cache != "none":
        raise UsageError(f"cache={cache}: none, ram or disk expected")
    return files


def _kind(dataset: Dataset, options: AugmentOptions) -> Callable[..., MakeExample]:
    if not options.detector:
        return ClassExamples
    has_masks = options.masks is not None and dataset.has_outlines
    return MaskExamples if has_masks else DetectionExamples


def _part(batch: int, rank: int, ranks: int) -> tuple[int, int]:
    return batch * rank // ranks, batch * (rank + 1) // ranks
