"""The images of a training: those to train with, to measure on, and to train jointly with."""

from collections.abc import Callable
from functools import partial
from os import PathLike

from darknet_torch import data
from darknet_torch.data import Dataset
from darknet_torch.data.description import describe
from darknet_torch.errors import DataError
from darknet_torch.training.options import TrainOptions

__all__ = ["DataSource", "read_all", "validation_of"]

DataSource = str | PathLike[str] | Dataset


def read_all(
    source: DataSource,
    val: DataSource | None,
    joint: DataSource | None,
    options: TrainOptions,
    *,
    masks: bool = False,
) -> tuple[Dataset, Dataset | None, Dataset | None]:
    """Return the images to train with, to measure on and to train jointly with; see `train`.

    Args:
        source: images to train with.
        val: images to measure on.
        joint: images to train jointly with.
        options: of the training.
        masks: read the outlines of objects too.

    Raises:
        DataError: a source cannot be read.
    """
    train = _read(source, options.split, masks=masks)
    if val is not None:
        validation: Dataset | None = _read(val, options.val_split, masks=masks)
    elif isinstance(source, Dataset):
        validation = None
    else:
        read = partial(_read, masks=masks)
        validation = validation_of(source, options.val_split, train, read)
    return train, validation, None if joint is None else _read(joint, options.split)


def validation_of(
    source: str | PathLike[str],
    split: str,
    train: Dataset,
    read: Callable[[str | PathLike[str], str], Dataset],
) -> Dataset | None:
    """Return the validation images of a source; None if it has none but those of the training.

    Args:
        source: a list or a folder has one split only, which stands for all.
        split: name of the validation split.
        train: the images to train with.
        read: reads a split of a source.
    """
    if not _has_split(source, split):
        return None
    validation = read(source, split)
    same = [each.path for each in validation.samples] == [each.path for each in train.samples]
    return None if same else validation


def _has_split(source: str | PathLike[str], split: str) -> bool:
    """Return whether a source names images of a split, or has one only, which stands for all."""
    try:
        describe(source, split)
    except DataError:
        return False
    return True


def _read(source: DataSource, split: str, *, masks: bool = False) -> Dataset:
    return source if isinstance(source, Dataset) else data.read(source, split, masks=masks)
