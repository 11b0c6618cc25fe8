"""The order in which training takes the images of a data set: a function of seed and position."""

from functools import lru_cache

import numpy as np

from darknet_torch.data.dataset import Array, Dataset

__all__ = ["Sampler", "rare_class_weights"]


class Sampler:
    """Every epoch has each image once, in another order; with weights, about as often as they say.

    No state is kept: any position of the endless sequence can be asked for, in any process.

    Args:
        count: number of images.
        seed: of the order.
        weights: (count,) how often an image comes compared with others; None is once each.
    """

    def __init__(self, count: int, seed: int, weights: Array | None = None) -> None:
        self.count, self.seed = count, seed
        self._ends = None if weights is None else np.cumsum(weights) / np.sum(weights)
        self._epoch = lru_cache(maxsize=2)(self._order)

    def __getitem__(self, position: int) -> int:
        """Return the index of the image at a position, from 0 on without end."""
        epoch, place = divmod(position, self.count)
        return int(self._epoch(epoch)[place])

    def __reduce__(self) -> tuple[object, ...]:
        weights = None if self._ends is None else np.diff(self._ends, prepend=0)
        return Sampler, (self.count, self.seed, weights)

    def _order(self, epoch: int) -> Array:
        rng = np.random.default_rng((self.seed, epoch))
        if self._ends is None:
            return rng.permutation(self.count)
        # points at equal distances: an image comes as often as its weight says, or once more
        points = (np.arange(self.count) + rng.random()) / self.count
        chosen = np.searchsorted(self._ends, points).clip(max=self.count - 1)
        return rng.permutation(chosen)


def rare_class_weights(dataset: Dataset) -> Array:
    """Return weights (N,) by which images with rare classes come more often.

    The weight of a class is the root of how many times more images the most frequent class has; of
    an image it is the largest weight of its classes, and 1 without any (repeat factor sampling,
    Gupta et al., LVIS, 2019).
    """
    classes = [_classes(dataset, index) for index in range(len(dataset))]
    images = np.bincount(np.concatenate([*classes, np.zeros(0, np.int64)]))
    factors = np.sqrt(images.max(initial=1) / np.maximum(images, 1))
    return np.array([factors[each].max(initial=1) for each in classes])


def _classes(dataset: Dataset, index: int) -> Array:
    sample = dataset.samples[index]
    if sample.label is not None:
        return np.array([sample.label])
    return np.unique(sample.ground_truth.class_id)
