"""The images of a training: those to train with, to measure on, and to train jointly with."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from os import PathLike

from darknet_torch import data
from darknet_torch.data import Dataset
from darknet_torch.data.description import describe
from darknet_torch.data.messages import shown
from darknet_torch.errors import DataError, UsageError
from darknet_torch.training.options import TrainOptions

__all__ = ["DataSource", "read_all", "validation_of"]

DataSource = str | PathLike[str] | Dataset
DEFAULT = "val"
"""The validation split that a source need not have."""


def read_all(
    source: DataSource,
    val: DataSource | None,
    joint: DataSource | None,
    options: TrainOptions,
    *,
    masks: bool = False,
    mapped: bool = False,
) -> tuple[Dataset, Dataset | None, Dataset | None]:
    """Return the images to train with, to measure on and to train jointly with; see `train`.

    Args:
        source: images to train with.
        val: images to measure on.
        joint: images to train jointly with.
        options: of the training.
        masks: read the outlines of objects too.
        mapped: the classes of boxes are some of the network's, by a class map: the names of the
            joint classes, which are those of the network, are others.

    Raises:
        DataError: a source cannot be read, or has not the validation split that is named.
        UsageError: joint images have a class of a name that those to train with have not.
    """
    train = _read(source, options.split, masks=masks)
    if val is not None:
        validation: Dataset | None = _read(val, options.val_split, masks=masks)
    elif isinstance(source, Dataset):
        validation = None
    else:
        read = partial(_read, masks=masks)
        validation = validation_of(source, options.val_split, train, read)
    others = None if joint is None else _read(joint, options.split)
    if others is not None and not mapped:
        others = _numbered_as(train, others)
    return train, validation, others


def _numbered_as(train: Dataset, joint: Dataset) -> Dataset:
    """Return joint images with the class numbers of the others, by the names if both have some."""
    if joint.names == train.names or not (_has_names(train) and _has_names(joint)):
        return joint
    numbers = {name: number for number, name in reversed(list(enumerate(train.names)))}
    labels = {s.label: joint.names[s.label] for s in joint.samples if s.label is not None}
    unknown = sorted({name for name in labels.values() if name not in numbers})
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise UsageError(
            f"{joint.source}: {', '.join(unknown[:5])}{more}: no class of {train.source}; classes"
            " are matched by name, and by number where one of the two has no names"
        )
    samples = [
        each if each.label is None else replace(each, label=numbers[labels[each.label]])
        for each in joint.samples
    ]
    return replace(joint, names=train.names, samples=tuple(samples), category_ids=None)


def _has_names(dataset: Dataset) -> bool:
    return not all(name.isdigit() for name in dataset.names)


def validation_of(
    source: str | PathLike[str],
    split: str,
    train: Dataset,
    read: Callable[[str | PathLike[str], str], Dataset],
) -> Dataset | None:
    """Return the validation images of a source; None if it has none but those of the training.

    Args:
        source: a list or a folder has one split only, which stands for all.
        split: name of the validation split; only "val" need not be there.
        train: the images to train with.
        read: reads a split of a source.

    Raises:
        DataError: another split than "val" that is not there, or has all images of the training.
    """
    if split == DEFAULT and not _has_split(source, split):
        return None
    validation = read(source, split)
    ours, theirs = ([each.path for each in images.samples] for images in (train, validation))
    if split != DEFAULT and ours and set(ours) <= set(theirs):
        raise DataError(
            f"{train.source}: split {shown(split)} (--val-split): has all images of the training;"
            " others expected"
        )
    return None if ours == theirs else validation


def _has_split(source: str | PathLike[str], split: str) -> bool:
    """Return whether a source names images of a split, or has one only, which stands for all."""
    try:
        describe(source, split)
    except DataError:
        return False
    return True


def _read(source: DataSource, split: str, *, masks: bool = False) -> Dataset:
    return source if isinstance(source, Dataset) else data.read(source, split, masks=masks)
