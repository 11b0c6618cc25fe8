"""How a network is brought to 8 bits: what importing takes no time for, see `calibration`."""

from dataclasses import dataclass
from numbers import Real
from os import PathLike, fspath
from typing import Literal, get_args

from darknet_torch.errors import UsageError

__all__ = ["Calibration", "Method"]

Method = Literal["percentile", "minmax", "entropy"]


@dataclass(frozen=True)
class Calibration:
    """How a network is brought to 8 bits.

    Args:
        data: a data set, or images without labels: what `data.read` takes.
        method: how the range of a layer's values is chosen: "minmax" takes all values, "percentile"
            leaves out the rarest, "entropy" loses the least information.
        images: how many images are used, spread over the data set.
        max_drop: points of mAP (top-1 of classifiers) that may be lost on them.

    Raises:
        UsageError: an argument is out of its range.
    """

    data: str | PathLike[str]
    method: Method = "percentile"
    images: int = 128
    max_drop: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.data, str | PathLike) or not fspath(self.data):
            raise UsageError(f"calibration data={self.data!r}: the path of a data set expected")
        for name in ("images", "max_drop"):
            if not isinstance(getattr(self, name), Real):
                raise UsageError(f"{name}={getattr(self, name)!r}: a number expected")
        if self.method not in get_args(Method):
            raise UsageError(f"calibration={self.method}: must be {', '.join(get_args(Method))}")
        if self.images < 1:
            raise UsageError(f"calibration_images={self.images}: must be at least 1")
        if not 0 <= self.max_drop <= 100:
            raise UsageError(f"max_drop={self.max_drop}: must be from 0 to 100 points")
