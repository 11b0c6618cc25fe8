"""Training with inputs of several sizes: `random` of the last head, or of [net] for classifiers.

The size of a batch depends on the seed and on the number of the batch alone.
"""

from dataclasses import dataclass

import numpy as np

from darknet_torch.network.plan import Plan
from darknet_torch.training.random_transforms import random_scale

__all__ = ["SizeSchedule"]

CANVAS_SIDES = range(10, 20)
CLASSIFIER_SIDES = range(4, 15)
SIDE_STEP = 32
"""pjreddie's fork: sides of detectors and classifiers, in steps of pixels."""
BATCHES, CLASSIFIER_BATCHES = 10, 40
"""How many batches have the same size."""
LAST_CANVAS, LAST = 200, 100
"""How many batches at the end have the largest size, in pjreddie's and in other forks."""
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
        group = self._random(number // BATCHES)
        left = self._total - number if self._total else LAST_CANVAS
        if self.plan.context.dialect.trains_on_canvas:
            side = int(group.integers(CANVAS_SIDES[0], CANVAS_SIDES[-1] + 1))
            return self._square(CANVAS_SIDES[-1] if left < LAST_CANVAS else side)
        if number < LAST or left < LAST:
            return self.largest
        return self._scaled(random_scale(group, self._factor))

    @property
    def varies(self) -> bool:
        """Whether batches differ in size."""
        if self.fixed or not self.plan.size_varies:
            return False
        heads = self.plan.head_layers
        return bool(heads[-1].random if heads else self.plan.net.random)

    @property
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


def _multiple(side: int, stride: int) -> int:
    """The next multiple of the network's stride, which is `side` in nearly all networks."""
    return max(side // stride, 1) * stride
