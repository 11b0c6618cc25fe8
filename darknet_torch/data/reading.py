"""Any source -> Dataset: its pictures, their sizes and labels, and what is wrong with them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from os import PathLike
from typing import Any

from darknet_torch.data.classes import Classes
from darknet_torch.data.darknet import RULES
from darknet_torch.data.dataset import NOTES, Dataset, Sample
from darknet_torch.data.description import FORMATS, Names, describe, to_names
from darknet_torch.data.listing import Item, Run, items_of
from darknet_torch.data.messages import plain, shown
from darknet_torch.data.problems import Report, check_boxes
from darknet_torch.errors import DataError, UsageError
from darknet_torch.images.size import ABSENT, image_size

__all__ = ["read"]

Progress = Callable[[int, int], None]


def read(
    source: str | PathLike[str],
    split: str = "val",
    *,
    format: str | None = None,  # noqa: A002 (what everybody calls it)
    names: Names | None = None,
    label_rule: str | None = None,
    strict: bool = False,
    verify: bool = False,
    workers: int = 2,
    progress: Progress | None = None,
) -> Dataset:
    """Read a data set and check it; all that is wrong is among the problems of the result.

    source: a .yaml description or the name of one of the package (coco, voc), Darknet's .data, a
    list of pictures, a folder, a glob, a folder in VOC's layout, a COCO .json, a folder of class
    folders. split: train, val, test or all; of VOC any that it has.
    format: one of darknet, voc, coco, folders, paths, classification; guessed where it is None.
    names: of the classes, or a .names file; default: those that the source tells, else those found.
    label_rule: "pjreddie" or "alexeyab", where labels lie; None tries all (see `darknet_labels`).
    strict: raise the first problem that is a fault. verify: decode every picture whole.
    workers: threads that look at pictures. progress: told (done, all) after every picture.

    Boxes are (left, top, right, bottom) in pixels of the picture as it is shown. Raises DataError
    (of a .names or .data file CfgError): no such source or split, a file that cannot be understood.
    """
    _check(format, label_rule, workers)
    run = _run(source, split, format, names, label_rule)
    try:
        items = [item for part in run.description.parts for item in items_of(part, run)]
    except OSError as error:  # a folder that may not be looked into
        where = f"{plain(str(error.filename))}: cannot be read"
        raise DataError(f"{run.description.source}: {where}: {error.strerror}") from error
    samples = list(_samples(items, run, strict, verify, workers, progress))
    found, kept = run.classes.final(samples)
    problems = tuple(run.report)
    return Dataset(found, kept, problems, run.category_ids, run.description.source)


def _run(
    source: str | PathLike[str],
    split: str,
    form: str | None,
    names: Names | None,
    label_rule: str | None,
) -> Run:
    """What the source tells, and where it differs what the caller tells."""
    description = describe(source, split)
    if form is not None:
        description = replace(description, format=form)
    if names is not None:
        found = to_names(names, description.places, "names")
        description = replace(description, names=found)
    return Run(description, Classes(description.names), label_rule)


def _check(format: str | None, rule: str | None, workers: int) -> None:  # noqa: A002
    if format is not None and format not in FORMATS:
        raise UsageError(f"format={shown(format)}: one of {', '.join(FORMATS)} wanted")
    if rule is not None and rule not in RULES:
        raise UsageError(f"label_rule={shown(rule)}: pjreddie, alexeyab or None wanted")
    if workers < 1:
        raise UsageError(f"workers={workers}: at least 1 wanted")


def _samples(
    items: Sequence[Item],
    run: Run,
    strict: bool,
    verify: bool,
    workers: int,
    progress: Progress | None,
) -> Iterator[Sample]:
    """Samples in order; what is found wrong goes into the report."""
    seen: dict[str, str] = {}
    _raise_first(run.report, strict)
    work = partial(_look, verify=verify)
    with ThreadPoolExecutor(workers) as pool:
        for place, (item, (sample, notes)) in enumerate(_ahead(pool, work, items), start=1):
            found = _listed_before(item, seen) + notes
            run.report += found
            _raise_first(found, strict)
            if sample is not None:
                number = place if item.image_id is None else item.image_id
                yield replace(sample, image_id=number)
            if progress is not None:
                progress(place, len(items))


def _listed_before(item: Item, seen: dict[str, str]) -> Report:
    report, (path, where) = Report(), item.listed
    before = seen.setdefault(str(path), where)
    if before is not where:
        report.add("duplicate picture", where, f"{path}: listed before, at {before}")
    return report


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Item], Any], items: Sequence[Item]
) -> Iterator[tuple[Item, Any]]:
    """Some hundred at a time, so that an error need not wait for all the others."""
    rest = iter(items)
    while some := list(islice(rest, 256)):
        yield from zip(some, pool.map(work, some), strict=True)


def _raise_first(problems: Sequence[Any], strict: bool) -> None:
    fault = next((each for each in problems if each.kind not in NOTES), None) if strict else None
    if fault is not None:
        raise DataError(str(fault))


def _look(item: Item, verify: bool) -> tuple[Sample | None, Report]:
    report, (path, where) = Report(), item.listed
    try:
        width, height = image_size(path, verify)
    except ABSENT:
        report.add("missing picture", where, f"{path}: no such picture")
        return None, report
    except DataError as error:
        report.add("unreadable picture", where, f"{path}: {plain(str(error))}")
        return None, report
    boxes = item.boxes((width, height), report)
    truth = check_boxes(boxes, width, height, report)
    return Sample(path, width, height, truth, 0, item.label), report
