"""The lowest score of a detection: one for all classes, or one for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.heads.boxes import Candidates
from darknet_torch.inference.detector_options import check_fractions, class_number

__all__ = ["OTHERS", "Thresholds"]

OTHERS = "*"
"""What stands for all classes without a threshold of their own."""


@dataclass(frozen=True)
class Thresholds:
    """The lowest score of a detection.

    Heads select boxes by the lowest threshold of all. Then scores that are not above the threshold
    of their class become 0, before NMS: a box that is no detection of its class suppresses none.

    Args:
        lowest: of all classes.
        by_class: that of each class; None is `lowest` for all.
    """

    lowest: float
    by_class: tuple[float, ...] | None = None

    @classmethod
    def of(
        cls,
        given: float | Mapping[str, float] | None,
        default: float,
        names: Sequence[str],
        count: int,
    ) -> Self:
        """Return the thresholds that an argument means.

        Args:
            given: one for all classes, or class name (or index) -> threshold, where "*" stands for
                the other classes; None is the default.
            default: of the classes that are not named, where there is no "*".
            names: of all classes.
            count: number of all classes.

        Raises:
            UsageError: there is no such class, or a threshold is no number from 0 to 1.
        """
        if given is None or not isinstance(given, Mapping):
            value = _checked("threshold", default if given is None else given)
            return cls(value)
        others = _checked(f"threshold of {OTHERS}", given.get(OTHERS, default))
        values = [others] * count
        numbers = {name: number for number, name in enumerate(names)}
        for key, value in given.items():
            if key != OTHERS:
                number = class_number(_as_index(key, numbers), numbers, count, "threshold")
                values[number] = _checked(f"threshold of {key}", value)
        return cls(min(values, default=others), tuple(values))

    @property
    def highest(self) -> float:
        """The highest one of all classes."""
        return self.lowest if self.by_class is None else max(self.by_class, default=self.lowest)

    def scaled(self, share: float) -> "Thresholds":
        """Return a share of all thresholds."""
        scaled = None if self.by_class is None else tuple(share * each for each in self.by_class)
        return Thresholds(share * self.lowest, scaled)

    def of_classes(self, class_id: Tensor) -> Tensor:
        """Return the threshold (N,) of each class index (N,)."""
        if self.by_class is None:
            return torch.full(class_id.shape, self.lowest, device=class_id.device)
        return torch.tensor(self.by_class, device=class_id.device)[class_id]

    def applied(self, candidates: Candidates) -> Candidates:
        """Return candidates whose scores are 0 where they are not above that of their class."""
        if self.by_class is None:
            return candidates
        scores = candidates.scores
        least = torch.tensor(self.by_class, dtype=scores.dtype, device=scores.device)
        return candidates._replace(scores=scores * (scores > least[: scores.shape[1]]))


def _as_index(key: Any, numbers: Mapping[str, int]) -> str | int:
    """Return a key as an index, if it is one in digits and no class's name."""
    if isinstance(key, str) and key not in numbers and key.isascii() and key.isdecimal():
        return int(key)
    return key if isinstance(key, str | int) else str(key)


def _checked(what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{what}: must be a number from 0 to 1, not {value!r}")
    check_fractions(**{what: value})
    return float(value)
