"""What there is to look at: the pictures of a source, and how their labels come about.

The format is what was told, or what the source looks like: a .json is COCO's; a folder may be in
VOC's layout, hold a folder `images`, or a folder a class; other pictures have the labels that lie
where one of the rules says.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from darknet_torch.data import class_folders, coco, darknet, voc
from darknet_torch.data.classes import Classes
from darknet_torch.data.dataset import NOTES
from darknet_torch.data.description import Description
from darknet_torch.data.paths import (
    Listed,
    find,
    first_file,
    in_folder,
    is_folder,
    is_picture,
    pictures,
)
from darknet_torch.data.problems import Box, Report
from darknet_torch.errors import DataError

__all__ = ["Item", "Run", "items_of"]

Boxes = Callable[[tuple[int, int], Report], Sequence[Box]]


@dataclass(frozen=True)
class Item:
    """A picture to look at, and how its boxes come about once its size is known."""

    listed: Listed
    boxes: Boxes = lambda size, report: ()
    image_id: int | None = None
    label: int | None = None


@dataclass
class Run:
    """What reading one data set has to know."""

    description: Description
    classes: Classes
    label_rule: str | None = None
    report: Report = field(default_factory=Report)
    category_ids: tuple[int, ...] | None = None


def items_of(part: str, run: Run) -> Iterable[Item]:
    """The pictures of one part, in the format that was told, or that it looks like."""
    told, places, source = run.description.format, run.description.places, run.description.source
    if told == "coco" or (told is None and part.lower().endswith(".json")):
        return _of_coco(find(part, places, source), run)
    folder = next((place / part for place in places if is_folder(place / part)), None)
    in_layout = _layout(part, folder, run)
    if in_layout is not None:
        return _of_labels(in_layout, "voc", run)
    if folder is None:
        return _of_listed(pictures(part, places, source, _near(run)), run)
    folder = _inside(folder, run.description.split)
    if _is_tree(folder, told):
        return _of_tree(folder, run)
    return _of_listed(in_folder(folder), run)


def _layout(part: str, folder: Path | None, run: Run) -> list[Listed] | None:
    """The pictures of a folder in VOC's layout, or of one of its ImageSets."""
    if run.description.format not in (None, "voc"):
        return None
    if folder is not None and voc.is_layout(folder):
        return voc.layout(folder, run.description.split)
    if Path(part).match("ImageSets/Main/*.txt"):
        path = find(part, run.description.places, run.description.source)
        return voc.layout(path.parents[2], path.stem)
    return None


def _of_listed(listed: Sequence[Listed], run: Run) -> Iterator[Item]:
    told = run.description.format
    if told in ("paths", "classification"):
        return _of_paths(listed, run)
    return _of_labels(listed, told or _guessed(listed, run), run)


def _near(run: Run) -> bool:
    return run.description.near_list


def _inside(folder: Path, split: str) -> Path:
    """Of a folder without pictures the one that holds those of the split: images/val, val ..."""
    if any(is_picture(path) for path in folder.iterdir()):
        return folder
    wanted = re.compile(rf"{re.escape(split)}\d*")  # val2017
    places = [place for place in (folder / "images", folder) if place.is_dir()]
    inside = [path for place in places for path in sorted(place.iterdir()) if path.is_dir()]
    found = next((path for path in inside if wanted.fullmatch(path.name)), places[0])
    return found / "images" if (found / "images").is_dir() else found


def _is_tree(folder: Path, told: str | None) -> bool:
    return told in ("folders", "classification") or (told is None and class_folders.is_tree(folder))


def _guessed(listed: Sequence[Listed], run: Run) -> str:
    first = [each.path for each in listed[:20]]
    folder = run.description.labels
    if darknet.has_labels(first, folder):
        return "darknet"
    return "voc" if voc.has_annotations(first, folder) else "darknet"


def _of_labels(listed: Sequence[Listed], form: str, run: Run) -> Iterator[Item]:
    folder = run.description.labels
    difficult = _difficult(listed, run)
    for index, each in enumerate(listed):
        if form == "voc":
            paths = voc.annotation_paths(each.path, folder)
            boxes = partial(_voc_boxes, paths, each.path, run)
        else:
            paths = darknet.label_paths(each.path, run.label_rule, folder)
            hard = difficult[index] if difficult else None
            boxes = partial(_darknet_boxes, paths, each.path, hard, run)
        yield Item(each, boxes)


def _voc_boxes(
    paths: Sequence[Path], picture: Path, run: Run, size: tuple[int, int], report: Report
) -> Sequence[Box]:
    return voc.read_boxes(paths, size, run.classes, report, picture)


def _darknet_boxes(
    paths: Sequence[Path],
    picture: Path,
    difficult: Path | None,
    run: Run,
    size: tuple[int, int],
    report: Report,
) -> Sequence[Box]:
    """Those of the label file, and as difficult those of the parallel list's label file."""
    boxes = darknet.read_boxes(paths, size, run.classes, report, picture)
    hard = darknet.label_paths(difficult, run.label_rule) if difficult else []
    if first_file(hard) is None:
        return boxes
    notes = Report()
    more = darknet.read_boxes(hard, size, run.classes, notes, picture)
    report += [note for note in notes if note.kind not in NOTES]
    return [*boxes, *(box._replace(difficult=True) for box in more)]


def _difficult(listed: Sequence[Listed], run: Run) -> list[Path]:
    """The pictures of the list `difficult`, one for each of ours, in the same order."""
    name, source = run.description.difficult, run.description.source
    if name is None:
        return []

    def there(path: Path) -> bool:  # the labels alone: no picture is needed
        paths = darknet.label_paths(path, run.label_rule)
        return first_file(paths) is not None

    found = pictures(name, run.description.places, f"{source}: difficult", _near(run), there)
    if len(found) != len(listed):
        what = f"difficult: {len(found)} pictures for {len(listed)}; one each, in the same order"
        raise DataError(f"{source}: {what}")
    return [each.path for each in found]


def _of_tree(folder: Path, run: Run) -> Iterator[Item]:
    for listed, label in class_folders.in_class_folders(folder, run.classes, run.report):
        yield Item(listed, label=label)


def _of_paths(listed: Sequence[Listed], run: Run) -> Iterator[Item]:
    names = run.classes.names
    if names is None:
        raise DataError(f"{run.description.source}: which names occur in the paths? give names")
    for each in listed:
        yield Item(each, label=class_folders.class_of(each, names, run.report))


def _of_coco(path: Path, run: Run) -> Iterator[Item]:
    found = coco.read_json(path, run.classes.names, run.report)
    if run.classes.names is None:
        run.classes = Classes(found.names)
    run.category_ids = run.category_ids or found.category_ids
    folder = coco.picture_folder(path, found.pictures, run.description.places)
    for picture in found.pictures:
        listed = Listed(folder / picture.file_name, picture.where)
        boxes = partial(_coco_boxes, found.boxes[picture.image_id], picture)
        yield Item(listed, boxes, picture.image_id)


def _coco_boxes(
    boxes: Sequence[Box], picture: coco.Picture, size: tuple[int, int], report: Report
) -> Sequence[Box]:
    if picture.size not in (size, (0, 0)):
        told, real = (f"{w} x {h}" for w, h in (picture.size, size))
        report.add("size disagrees", picture.where, f"size {told}, the picture has {real}")
    if not boxes:
        report.add("negative picture", picture.where, "no annotation: nothing to find here")
    return boxes
