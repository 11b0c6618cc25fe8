"""Training with inputs of several sizes: `random` of the last head, or of [net] for classifiers.

The size of a batch, and how many images it has, depend on the seed and on its number alone.

Source: Darknet's detector.c and classifier.c (train_detector, train_classifier).
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from darknet_torch.network.plan import Plan
from darknet_torch.training.random_transforms import random_scale

__all__ = ["SizeSchedule"]

CANVAS_SIDES = range(10, 20)
CLASSIFIER_SIDES = range(4, 15)
SIDE_STEP = 32
"""pjreddie's fork: sides of detectors and classifiers, in steps of pixels."""
BATCHES, CLASSIFIER_BATCHES = 10, 40
"""How many batches in a row have the same size."""
LAST_CANVAS, LAST = 200, 100
"""Of so many last batches, new sizes are the largest: in pjreddie's fork, and in the others."""
FILLED = 0.8
"""Share of the images that the largest size has room for, in a mini-batch of smaller ones."""
DEFAULT_FACTOR = 1.4


@dataclass(frozen=True)
class SizeSchedule:
    """The size of the input of each batch.

    Args:
        plan: of the network.
        seed: of the training.
        batches: of the whole training, `max_batches` by default.
        fixed: always the size of the cfg.
    """

    plan: Plan
    seed: int = 0
    batches: int | None = None
    fixed: bool = False

    def __call__(self, number: int) -> tuple[int, int]:
        """Return (height, width) in pixels of batch `number`, from 0."""
        if not self.varies:
            return self.plan.input.h, self.plan.input.w
        if not self.plan.heads:
            group = self._random(number // CLASSIFIER_BATCHES)
            return self._square(int(group.integers(CLASSIFIER_SIDES[0], CLASSIFIER_SIDES[-1] + 1)))
        first = number // BATCHES * BATCHES
        left = self._total - first if self._total else LAST_CANVAS
        if self.plan.context.dialect.trains_on_canvas:
            group = self._random(number // BATCHES)
            side = int(group.integers(CANVAS_SIDES[0], CANVAS_SIDES[-1] + 1))
            return self._square(CANVAS_SIDES[-1] if left < LAST_CANVAS else side)
        if not first or left < LAST:
            return self.largest
        return self._scaled(_scale(self.seed, number // BATCHES, self._factor))

    def images(self, number: int, mini_batch: int) -> int:
        """Return the images of each mini-batch of a batch: with `dynamic_minibatch` more if small.

        Args:
            number: of the batch, from 0.
            mini_batch: images of a mini-batch of the largest size.
        """
        if not self.counts_vary:
            return mini_batch
        (height, width), (most_rows, most_columns) = self(number), self.largest
        room = mini_batch * most_rows * most_columns // (height * width)
        images = int(room * FILLED)
        images = images if images > mini_batch else room
        return images - images % 2 if self.plan.net.contrastive else images  # pairs

    @cached_property
    def counts_vary(self) -> bool:
        """Whether batches differ in their number of images."""
        return self.varies and bool(self.plan.heads) and self.plan.net.dynamic_minibatch

    @cached_property
    def varies(self) -> bool:
        """Whether batches differ in size."""
        if self.fixed or not self.plan.size_varies:
            return False
        heads = self.plan.head_layers
        return bool(heads[-1].random if heads else self.plan.net.random)

    @cached_property
    def largest(self) -> tuple[int, int]:
        """(height, width) of the largest batch."""
        if not self.varies:
            return self.plan.input.h, self.plan.input.w
        if not self.plan.heads:
            return self._square(CLASSIFIER_SIDES[-1])
        if self.plan.context.dialect.trains_on_canvas:
            return self._square(CANVAS_SIDES[-1])
        return self._scaled(self._factor)

    @property
    def _total(self) -> int:
        return self.plan.net.max_batches if self.batches is None else self.batches

    @property
    def _factor(self) -> float:
        random = float(self.plan.head_layers[-1].random)
        return DEFAULT_FACTOR if random == 1 else random

    def _random(self, group: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, group))

    def _square(self, steps: int) -> tuple[int, int]:
        rows, columns = self.plan.stride
        side = SIDE_STEP * steps
        return _multiple(side, rows), _multiple(side, columns)

    def _scaled(self, factor: float) -> tuple[int, int]:
        old, step = (self.plan.input.h, self.plan.input.w), max(self.plan.net.resize_step, 1)
        sides = [(int(factor * side / step + 0.5) + 1) * step for side in old]
        if factor < 1 and any(new > side for new, side in zip(sides, old, strict=True)):
            sides = list(old)
        height, width = (
            _multiple(side, stride) for side, stride in zip(sides, self.plan.stride, strict=True)
        )
        return height, width


@lru_cache(maxsize=1)  # asked for again with each batch of the group
def _scale(seed: int, group: int, most: float) -> float:
    return random_scale(np.random.default_rng((seed, group)), most)


def _multiple(side: int, stride: int) -> int:
    """The next multiple of the network's stride, which is `side` in nearly all networks."""
    return max(side // stride, 1) * stride
