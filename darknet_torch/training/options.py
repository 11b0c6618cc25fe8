"""The arguments of `train`, checked: what a cfg does not say about a training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from darknet_torch.errors import UsageError
from darknet_torch.extras import require
from darknet_torch.metrics.curves import check_points
from darknet_torch.network.net_section import Net
from darknet_torch.training.batches import Cache
from darknet_torch.training.callbacks import Callback

__all__ = ["OnNan", "Precision", "TrainOptions"]

OnNan = Literal["stop", "skip", "lower"]
"""What is done about a loss that is not finite."""
BatchNorm = Literal["torch", "darknet"]
"""How batch norm is computed in training."""
Precision = Literal["auto", "float32", "bfloat16", "float16"]
"""The type of the activations; weights are float32 always."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The arguments of `train`; see there for what each one means."""

    folder: str | PathLike[str] = "training"
    split: str = "train"
    val_split: str = "val"
    hours: float | None = None
    patience: int | None = None
    freeze: int = 0
    clear: bool = False
    subdivisions: int | Literal["auto"] | None = None
    dtype: Precision = "auto"
    batch_norm: BatchNorm = "torch"
    compile: bool = False
    augment: bool = True
    cache: Cache = "none"
    workers: int | None = None
    weighted: bool = False
    joint_share: float = 0.5
    eval_every: int | None = None
    save_every: int = 1000
    points: int = 0
    on_nan: OnNan = "stop"
    seed: int = 0
    fresh: bool = False
    tensorboard: bool = False
    callbacks: Sequence[Any] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        _check_words(self)
        _check_types(self)
        lowest = {"freeze": 0, "save_every": 1, "seed": 0}
        lowest |= {
            name: 1 for name in ("patience", "eval_every") if getattr(self, name) is not None
        }
        if self.workers is not None:
            lowest["workers"] = 0
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise UsageError(f"{name}={getattr(self, name)}: must be at least {least}")
        if self.hours is not None and not self.hours > 0:
            raise UsageError(f"hours={self.hours}: must be more than 0")
        check_points(self.points)
        require("safetensors", "train")  # the state is written in its format, much later
        if self.tensorboard:
            require("tensorboard", "tensorboard")
        if not 0 < self.joint_share < 1:
            raise UsageError(f"joint_share={self.joint_share}: must be between 0 and 1")

    @property
    def path(self) -> Path:
        """The folder of the results."""
        return Path(self.folder)


def _check_words(options: TrainOptions) -> None:
    words = {"dtype": Precision, "batch_norm": BatchNorm, "cache": Cache, "on_nan": OnNan}
    for name, kind in words.items():
        if getattr(options, name) not in get_args(kind):
            raise UsageError(f"{name}={getattr(options, name)}: {_listed(get_args(kind))} expected")


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _check_types(options: TrainOptions) -> None:
    whole = ("freeze", "save_every", "seed", "patience", "eval_every", "workers", "points")
    for name, kind, what in (
        *((each, Integral, "a whole number") for each in whole),
        *((each, Real, "a number") for each in ("hours", "joint_share")),
    ):
        value = getattr(options, name)
        if value is None and getattr(TrainOptions, name) is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kind):
            raise UsageError(f"{name}={value!r}: {what} expected")
    if not isinstance(options.callbacks, list | tuple):
        raise UsageError(f"callbacks={options.callbacks!r}: a list of Callbacks expected")
    for callback in options.callbacks:
        if not isinstance(callback, Callback):
            raise UsageError(f"callbacks: {callback!r}: a Callback expected")


def check_net(net: Net, ranks: int) -> None:
    """Check the options of [net] that a training needs.

    Raises:
        UsageError: an option is out of its range, or does not fit the number of processes.
        CfgError: the same with the line of the cfg.
    """
    if net.batch < 1 or net.subdivisions < 1 or net.batch < net.subdivisions:
        raise UsageError(
            f"batch={net.batch}, subdivisions={net.subdivisions}: a batch must have at least one"
            " image for each subdivision"
        )
    if net.batch % net.subdivisions:
        raise UsageError(
            f"batch={net.batch}: subdivisions={net.subdivisions} must divide it without a rest"
        )
    if net.subdivisions % ranks:
        raise UsageError(
            f"subdivisions={net.subdivisions}: {ranks} processes must share them equally"
        )
    if net.contrastive and net.batch // net.subdivisions < 2:
        raise UsageError(
            f"contrastive=1: batch={net.batch} and subdivisions={net.subdivisions} leave one image"
            " for each part, and pairs are compared"
        )
    if net.max_batches < 1:
        raise UsageError(f"max_batches={net.max_batches}: must be at least 1 to train")


def overridden(options: Mapping[str, object], **named: object) -> dict[str, object]:
    """Return options of the cfg with the named ones that are given."""
    return {**options, **{name: value for name, value in named.items() if value is not None}}
