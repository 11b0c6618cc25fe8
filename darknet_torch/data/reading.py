"""`read`: from a source to a Dataset: its images, their sizes and annotations, and all problems."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

from darknet_torch.data.class_names import ClassNames, to_names
from darknet_torch.data.classes import Classes
from darknet_torch.data.darknet import RULES
from darknet_torch.data.dataset import NOTES, Dataset, Problem, Sample
from darknet_torch.data.description import LABEL_FORMATS, describe
from darknet_torch.data.listing import ReadingState, UnreadSample, unread_samples
from darknet_torch.data.messages import shown
from darknet_torch.data.problems import ProblemList, check_boxes
from darknet_torch.errors import DataError, UsageError, warn
from darknet_torch.images.limits import pixel_limit
from darknet_torch.images.size import ABSENT, image_size
from darknet_torch.progress import Progress
from darknet_torch.safety.text import printable
from darknet_torch.safety.threads import Pool

__all__ = ["read"]

ReadSize = Callable[[Path], tuple[int, int]]
"""An image file -> its width and height in pixels."""


def read(
    source: str | PathLike[str],
    split: str = "val",
    *,
    format: str | None = None,  # noqa: A002 (what everybody calls it)
    names: ClassNames | None = None,
    label_rule: str | None = None,
    strict: bool = False,
    verify: bool = False,
    masks: bool = False,
    needs_labels: bool = True,
    workers: int = 2,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Read a data set and check it; what is wrong with it is among the problems of the result.

    Boxes of the result are (left, top, right, bottom) in pixels of the image, turned as its EXIF
    orientation says.

    Args:
        source: a .yaml description or the name of one of the package (coco, voc), Darknet's .data,
            a list of images, a folder, a glob, a folder in VOC's layout, a COCO .json, or a folder
            of class folders.
        split: train, val, test or all; of a folder in VOC's layout any of its ImageSets.
        format: darknet, voc, coco, folders, paths or classification; None guesses it.
        names: of the classes, or a .names file; default: those of the source, else those that
            occur in the annotations.
        label_rule: "pjreddie" or "alexeyab", the fork whose rule says where label files lie; None
            tries all, see `data.darknet`.
        strict: raise the first problem that is a fault.
        verify: decode every image, not only its header.
        masks: read the outlines of objects too, which COCO's files and Darknet's mask files have:
            `GroundTruth.outlines`.
        needs_labels: warn of images without any label, if it is a guess that they have none.
        workers: threads that read images and annotations.
        max_pixels: most pixels of an image; 0 sets no limit; None is the variable
            DARKNET_TORCH_MAX_PIXELS, or else `PIL.Image.MAX_IMAGE_PIXELS`.
        progress: called with (done, total) after every image.

    Raises:
        DataError: no such source or split, or a file that cannot be understood.
        CfgError: the same of a .names or .data file.
        UsageError: an argument has an unknown value.
    """
    _check_arguments(format, label_rule, workers)
    state = _start(source, split, format, names, label_rule)
    state.masks = masks
    try:
        unread = [each for part in _once(state) for each in unread_samples(part, state)]
    except OSError as error:  # a folder without permission
        where = f"{printable(str(error.filename))}: cannot be read"
        raise DataError(f"{state.description.source}: {where}: {error.strerror}") from error
    size = partial(_decoded_size if verify else image_size, max_pixels=pixel_limit(max_pixels))
    samples = list(_samples(unread, state, strict, size, workers, progress))
    class_names, numbered = state.classes.finish(samples)
    dataset = Dataset(
        class_names,
        numbered,
        tuple(state.problems),
        state.category_ids,
        state.description.source,
        tuple(state.guesses),
    )
    if needs_labels:
        _warn_of_a_wrong_guess(dataset)
    return dataset


def _warn_of_a_wrong_guess(dataset: Dataset) -> None:
    labelled = any(len(s.ground_truth) or s.label is not None for s in dataset.samples)
    if dataset.guesses and dataset.samples and not labelled:
        guess = f"no box in {len(dataset)} images; it is a guess that {dataset.guesses[0]}"
        warn(
            f"{dataset.source}: {guess}; format= says what they are (--format of evaluate and data)"
        )


def _once(state: ReadingState) -> list[str]:
    """Return the parts of the split; those that are named again are a problem, and left out."""
    counts = Counter(state.description.parts)
    for part, count in counts.items():
        if count > 1:
            what = f"{shown(part)}: named {count} times, read once"
            state.problems.add("duplicate picture", state.description.source, what)
    return list(counts)


def _start(
    source: str | PathLike[str],
    split: str,
    form: str | None,
    names: ClassNames | None,
    label_rule: str | None,
) -> ReadingState:
    """The description of the source, with the caller's format and names where given."""
    description = describe(source, split)
    if form is not None:
        description = replace(description, format=form)
    if names is not None:
        class_names = to_names(names, description.search_folders, "names")
        description = replace(description, names=class_names)
    return ReadingState(description, Classes(description.names), label_rule)


def _check_arguments(format: str | None, rule: str | None, workers: int) -> None:  # noqa: A002
    if format is not None and format not in LABEL_FORMATS:
        raise UsageError(f"format={shown(format)}: one of {', '.join(LABEL_FORMATS)} expected")
    if rule is not None and rule not in RULES:
        raise UsageError(f"label_rule={shown(rule)}: pjreddie, alexeyab or None expected")
    if workers < 1:
        raise UsageError(f"workers={workers}: at least 1 expected")


def _samples(
    unread: Sequence[UnreadSample],
    state: ReadingState,
    strict: bool,
    size: ReadSize,
    workers: int,
    progress: Progress | None,
) -> Iterator[Sample]:
    """Yield samples in order; problems are appended to those of the state."""
    seen: dict[str, str] = {}
    _raise_first(state.problems, strict)
    work = partial(_read_sample, size=size)
    with Pool(workers) as pool:
        results = _map_in_blocks(pool, work, unread)
        for position, (each, (sample, found)) in enumerate(results, start=1):
            problems = _duplicates(each, seen) + found
            state.problems += problems
            _raise_first(problems, strict)
            if sample is not None:
                image_id = position if each.image_id is None else each.image_id
                yield replace(sample, image_id=image_id)
            if progress is not None:
                progress(position, len(unread))


def _duplicates(unread: UnreadSample, seen: dict[str, str]) -> ProblemList:
    problems, (path, where) = ProblemList(), unread.image
    before = seen.setdefault(str(path), where)
    if before is not where:
        problems.add("duplicate picture", where, f"{path}: listed before, at {before}")
    return problems


def _map_in_blocks(
    pool: Pool,
    work: Callable[[UnreadSample], Any],
    unread: Sequence[UnreadSample],
) -> Iterator[tuple[UnreadSample, Any]]:
    """Some hundred at a time, so that an error need not wait for all the others."""
    rest = iter(unread)
    while block := list(islice(rest, 256)):
        yield from zip(block, pool.map(work, block), strict=True)


def _raise_first(problems: Sequence[Problem], strict: bool) -> None:
    fault = next((each for each in problems if each.kind not in NOTES), None) if strict else None
    if fault is not None:
        raise DataError(str(fault))


def _decoded_size(path: Path, max_pixels: int) -> tuple[int, int]:
    from darknet_torch.images.reading import decoded_size  # with torch, for those who decode

    return decoded_size(path, max_pixels)


def _read_sample(unread: UnreadSample, size: ReadSize) -> tuple[Sample | None, ProblemList]:
    problems, (path, where) = ProblemList(), unread.image
    try:
        width, height = size(path)
    except ABSENT:
        problems.add("missing picture", where, f"{path}: no such image")
        return None, problems
    except DataError as error:
        problems.add("unreadable picture", where, f"{path}: {printable(str(error))}")
        return None, problems
    boxes = unread.read_boxes((width, height), problems)
    label = unread.label
    if boxes and all(box.class_only for box in boxes):
        label, boxes = boxes[0].class_id, boxes[1:]
        problems.add("negative picture", unread.image.where, f"class {label} without a box")
    ground_truth = check_boxes(boxes, width, height, problems)
    return Sample(path, width, height, ground_truth, 0, label), problems
