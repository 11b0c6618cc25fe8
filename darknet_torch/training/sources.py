"""The images of a training: those to train with, to measure on, and to train jointly with."""

from os import PathLike

from darknet_torch import data
from darknet_torch.data import Dataset
from darknet_torch.data.description import describe
from darknet_torch.errors import DataError
from darknet_torch.training.options import TrainOptions

__all__ = ["DataSource", "has_split", "read_all", "same_images"]

DataSource = str | PathLike[str] | Dataset


def read_all(
    source: DataSource, val: DataSource | None, joint: DataSource | None, options: TrainOptions
) -> tuple[Dataset, Dataset | None, Dataset | None]:
    """Return the images to train with, to measure on and to train jointly with; see `train`.

    Raises:
        DataError: a source cannot be read.
    """
    train = _read(source, options.split)
    validation = None
    if val is not None:
        validation = _read(val, options.val_split)
    elif not isinstance(source, Dataset) and has_split(source, options.val_split):
        validation = _read(source, options.val_split)
        if same_images(validation, train):
            validation = None  # a list or a folder has one split only
    return train, validation, None if joint is None else _read(joint, options.split)


def has_split(source: str | PathLike[str], split: str) -> bool:
    """Return whether a source names images of a split, or has one only, which stands for all."""
    try:
        describe(source, split)
    except DataError:
        return False
    return True


def same_images(one: Dataset, other: Dataset) -> bool:
    """Return whether two data sets have the same images, in the same order."""
    return [each.path for each in one.samples] == [each.path for each in other.samples]


def _read(source: DataSource, split: str) -> Dataset:
    return source if isinstance(source, Dataset) else data.read(source, split)
