"""Batches of training examples, without end: what the training loop reads.

Batch k depends on the seed, on k and on the data set alone, not on the number of loader processes
or ranks, nor on where the training was started: so it can be resumed anywhere.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from darknet_torch.data.dataset import Dataset
from darknet_torch.errors import DarknetError, DataError, UsageError
from darknet_torch.layers.truth import Truth
from darknet_torch.network.plan import Plan
from darknet_torch.training.augment import Colour, distort
from darknet_torch.training.augment_options import AugmentOptions
from darknet_torch.training.class_examples import ClassExamples
from darknet_torch.training.detection_examples import DetectionExamples
from darknet_torch.training.examples import Example, MakeExample, rows_of
from darknet_torch.training.image_cache import DiskCache, ImageFiles, RamCache, ReadImage
from darknet_torch.training.random_transforms import Randomness
from darknet_torch.training.sampler import Sampler, rare_class_weights

__all__ = ["Batch", "Cache", "batches"]

Cache = Literal["none", "ram", "disk"]
"""Where decoded images are kept."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one size and their ground truth.

    Attributes:
        images: (B, C, H, W) uint8.
        truth: of the images.
        paths: of the image files; of images made of several the first.
        colours: (B, 3) float32, hue, saturation and exposure of changes of colour yet to be made;
            None where there are none.
    """

    images: Tensor
    truth: Truth
    paths: tuple[Path, ...]
    colours: Tensor | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def on(self, device: torch.device | str) -> "Batch":
        """Return the batch on another device, with the changes of colour made there."""
        images = self.images.to(device, non_blocking=True)
        if self.colours is not None:
            colours = self.colours.to(device, non_blocking=True)[:, :, None, None]
            images = distort(images, *colours.unbind(1))
        return Batch(images, self.truth.to(device), self.paths)


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
    weighted: bool = False,
    rank: int = 0,
    ranks: int = 1,
    size_of: Callable[[int], tuple[int, int]],
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
        weighted: whether images with rare classes come more often, see `rare_class_weights`.
        rank: of this process, which gets its part of each batch.
        ranks: number of such processes.
        size_of: number of a batch -> (height, width) of its images in pixels.
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
    make = DetectionExamples if options.detector else ClassExamples
    sources = tuple(make(each.samples, kept(each), options) for each in sets)
    weights = rare_class_weights(sets[0]) if weighted else None
    samplers = tuple(
        Sampler(len(each), seed + number, None if number else weights)
        for number, each in enumerate(sets)
    )
    order = _Order(samplers, batch, joint_share, range(*_part(batch, rank, ranks)), options.paired)
    return _load(_Maker(sources, seed, options), order, start, workers, size_of)


class _Key(NamedTuple):
    """What an example depends on, besides the seed."""

    batch: int
    position: int
    source: int
    image: int
    size: tuple[int, int]


class _Order(NamedTuple):
    samplers: tuple[Sampler, ...]
    batch: int
    joint_share: float
    mine: range
    paired: bool

    def keys(self, number: int, size: tuple[int, int]) -> list[_Key]:
        """The keys of this rank's part of a batch."""
        return [_Key(number, each, *self._image(number, each), size) for each in self.mine]

    def _image(self, number: int, position: int) -> tuple[int, int]:
        place = number * self.batch + position
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


def _load(
    maker: _Maker,
    order: _Order,
    start: int,
    workers: int,
    size_of: Callable[[int], tuple[int, int]],
) -> Iterator[Batch]:
    methods = multiprocessing.get_all_start_methods()
    loader: DataLoader[Any] = DataLoader(
        maker,
        batch_sampler=_Keys(order, start, size_of),
        num_workers=workers,
        collate_fn=_collate,
        multiprocessing_context="fork" if workers and "fork" in methods else None,
        generator=torch.Generator(),  # else it draws from torch's own
    )
    for made in loader:
        if isinstance(made, DarknetError):
            raise made
        yield made


class _Keys:
    """The keys of one batch after the other."""

    def __init__(
        self, order: _Order, start: int, size_of: Callable[[int], tuple[int, int]]
    ) -> None:
        self.order, self.start, self.size_of = order, start, size_of

    def __iter__(self) -> Iterator[list[_Key]]:
        number = self.start
        while True:
            yield self.order.keys(number, self.size_of(number))
            number += 1


def _collate(examples: Sequence[Example | DarknetError]) -> Batch | DarknetError:
    made = [each for each in examples if isinstance(each, Example)]
    if len(made) < len(examples):
        return next(each for each in examples if isinstance(each, DarknetError))
    images = torch.stack([each.image for each in made])
    colours = [each.colour for each in made]
    left = torch.tensor(colours) if any(each != Colour() for each in colours) else None
    return Batch(images, _truth(made), tuple(each.path for each in made), left)


def _truth(examples: Sequence[Example]) -> Truth:
    most = max(len(each.objects) for each in examples)
    truth = Truth.empty(len(examples), most)
    ids = torch.zeros_like(truth.class_id)
    for number, each in enumerate(examples):
        objects, rows = each.objects, slice(len(each.objects))
        truth.boxes[number, rows] = torch.from_numpy(rows_of(objects))
        truth.class_id[number, rows] = torch.from_numpy(objects.class_id)
        truth.has_box[number, rows] = torch.from_numpy(objects.has_box)
        ids[number, rows] = torch.from_numpy(objects.object_id)
    counts = torch.tensor([len(each.objects) for each in examples])
    valid = torch.arange(most) < counts[:, None]
    values = [each.values for each in examples if each.values is not None]
    return Truth(
        truth.boxes,
        truth.class_id,
        valid,
        truth.has_box,
        torch.stack(values) if values else None,
        object_id=ids,
    )


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


def _part(batch: int, rank: int, ranks: int) -> tuple[int, int]:
    return batch * rank // ranks, batch * (rank + 1) // ranks
