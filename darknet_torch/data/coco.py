"""COCO's annotations: one JSON file for all pictures.

    images: id, file_name, width, height;   categories: id, name
    annotations: image_id, category_id, bbox (left, top, width, height in pixels), area, iscrowd

Classes are numbered in the order of the categories' ids, as Darknet numbers COCO's 80 (whose ids go
to 90), unless names are given: then by name. Of a file in which some names are spelled otherwise
(Darknet's sofa is COCO's couch), the categories without a name take the places that are left, if
there are as many categories as names and most of them match. `difficult` and `truncated` are ours:
kept from VOC.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from darknet_torch.data.dataset import Dataset, Sample
from darknet_torch.data.messages import number, plain, shown
from darknet_torch.data.paths import exists
from darknet_torch.data.problems import Box, Report
from darknet_torch.errors import DataError
from darknet_torch.files import read_bytes, write_atomically

__all__ = ["Annotations", "category_numbers", "picture_folder", "read_json", "write_json"]

MAX_JSON = 1 << 29  # that of COCO's train2017 is 448 MB

Row = Mapping[str, Any]


class Picture(NamedTuple):
    """An entry of `images`: (0, 0) where it tells no size."""

    file_name: str
    image_id: int
    size: tuple[int, int]
    where: str


class Annotations(NamedTuple):
    """What a file holds; boxes by the number of the picture."""

    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    pictures: tuple[Picture, ...]
    boxes: Mapping[int, Sequence[Box]]


def read_json(path: Path, names: Sequence[str] | None, report: Report) -> Annotations:
    """Everything of a file; entries that are wrong are reported and left out.

    Raises DataError: unreadable, more than 512 MB, no JSON, no lists of the three kinds.
    """
    content, file = _load(path), str(path)
    rows = {key: list(_rows(content, key, file, report)) for key in _LISTS}
    categories = _categories(rows["categories"], report)
    classes = _classes(categories, names, file, report)
    pictures = tuple(_pictures(rows["images"], report))
    boxes: dict[int, list[Box]] = {picture.image_id: [] for picture in pictures}
    for where, row in rows["annotations"]:
        box = _box(where, row, classes, categories, report)
        if box is not None and row["image_id"] in boxes:
            boxes[row["image_id"]].append(box)
        elif box is not None:
            report.add("malformed entry", where, f"image_id {row['image_id']}: no such picture")
    found = tuple(categories[each] for each in sorted(categories))
    ids = {class_id: each for each, class_id in sorted(classes.items(), reverse=True)}
    names = found if names is None else tuple(names)
    return Annotations(names, tuple(ids.get(n, -1) for n in range(len(names))), pictures, boxes)


_LISTS = ("images", "categories", "annotations")


def _load(path: Path) -> Row:
    raw = read_bytes(path, MAX_JSON, DataError, "an annotation")
    try:
        content = json.loads(raw)
    except RecursionError as error:
        raise DataError(f"{plain(str(path))}: no COCO file: brackets too deep") from error
    except ValueError as error:  # no JSON, no UTF-8, or a number of thousands of digits
        raise DataError(f"{plain(str(path))}: no JSON: {shown(str(error))}") from error
    if not isinstance(content, dict):
        raise DataError(f"{plain(str(path))}: {shown(content)}; images, annotations ... wanted")
    return content


def _rows(content: Row, key: str, file: str, report: Report) -> Iterator[tuple[str, Row]]:
    rows = content.get(key)
    if not isinstance(rows, list):
        what = "missing" if key not in content else shown(rows)
        raise DataError(f"{plain(file)}: {key}: {what}; a list wanted")
    for index, row in enumerate(rows):
        if isinstance(row, dict):
            yield f"{file}: {key}[{index}]", row
        else:
            report.add("malformed entry", f"{file}: {key}[{index}]", f"{shown(row)}, no entry")


def _categories(rows: Sequence[tuple[str, Row]], report: Report) -> dict[int, str]:
    found: dict[int, str] = {}
    for where, row in rows:
        number, name = row.get("id"), row.get("name")
        if not _is_int(number) or not isinstance(name, str):
            what = f"id {shown(number)}, name {shown(name)}; a whole number and a word wanted"
            report.add("malformed entry", where, what)
        elif number in found:
            report.add("malformed entry", where, f"id {shown(number)} again")
        else:
            found[number] = plain(name)
    return found


def _classes(
    categories: Mapping[int, str], names: Sequence[str] | None, file: str, report: Report
) -> dict[int, int]:
    """Category id -> class."""
    ids = sorted(categories)
    if names is None:
        return {each: place for place, each in enumerate(ids)}
    numbers = {name: place for place, name in reversed(list(enumerate(names)))}
    found = {each: numbers[categories[each]] for each in ids if categories[each] in numbers}
    if len(ids) != len(names) or 2 * len(found) <= len(ids):
        return found
    taken = set(found.values())
    free = [place for place in range(len(names)) if place not in taken]
    left = [each for each in ids if each not in found]
    for each, place in zip(left, free, strict=False):
        what = f"category {each}, {shown(categories[each])}, is taken for {names[place]}"
        report.add("other spelling", f"{file}: categories", what)
        found[each] = place
    return found


def _pictures(rows: Sequence[tuple[str, Row]], report: Report) -> Iterator[Picture]:
    seen: set[int] = set()
    for where, row in rows:
        image_id, name = row.get("id"), row.get("file_name")
        if not _is_int(image_id) or not isinstance(name, str) or not name:
            what = f"id {shown(image_id)}, file_name {shown(name)}; a number and a path wanted"
            report.add("malformed entry", where, what)
        elif image_id in seen:
            report.add("malformed entry", where, f"id {shown(image_id)} again")
        else:
            seen.add(image_id)
            yield Picture(name, image_id, _size(row, where, report), where)


def _size(row: Row, where: str, report: Report) -> tuple[int, int]:
    width, height = row.get("width"), row.get("height")
    if _is_int(width) and _is_int(height) and min(width, height) > 0:
        return width, height
    what = f"width {shown(width)}, height {shown(height)}; pixels wanted"
    report.add("malformed entry", where, what)
    return 0, 0


def _box(
    where: str,
    row: Row,
    classes: Mapping[int, int],
    categories: Mapping[int, str],
    report: Report,
) -> Box | None:
    category, bbox = row.get("category_id"), row.get("bbox")
    if not _is_int(row.get("image_id")) or not _is_int(category):
        numbers = f"image_id {shown(row.get('image_id'))}, category_id {shown(category)}"
        report.add("malformed entry", where, f"{numbers}; whole numbers wanted")
        return None
    if category not in classes:
        name = shown(categories[category]) if category in categories else "of no category"
        report.add("unknown class", where, f"category_id {shown(category)}, {name}, has no class")
        return None
    if not isinstance(bbox, list) or len(bbox) != 4:
        report.add("column count", where, f"bbox: {shown(bbox)}; left top width height wanted")
        return None
    try:
        corners, area = _corners(bbox), _area(row)
    except DataError as error:
        report.add("not a number", where, str(error))
        return None
    difficult, truncated, crowd = (row.get(key) == 1 for key in _FLAGS)
    return Box(where, classes[category], corners, difficult, truncated, crowd, area)


_FLAGS = ("difficult", "truncated", "iscrowd")


def _corners(bbox: Sequence[Any]) -> tuple[float, float, float, float]:
    if any(isinstance(value, str) for value in bbox):
        raise DataError("bbox: words; numbers wanted")
    left, top, width, height = (number(value) for value in bbox)
    return left, top, left + width, top + height


def _area(row: Row) -> float | None:
    area = number(row["area"]) if "area" in row else None
    if area is not None and not 0 <= area < 1e18:
        raise DataError(f"area: {shown(area)}; 0 or more wanted")
    return area


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


def picture_folder(path: Path, pictures: Sequence[Picture], places: Sequence[Path]) -> Path:
    """Where the pictures of a JSON lie: the first folder that has one of the first ten.

    Looked at: the places, what lies beside the file, and around its folder; in each the folder
    itself, `images`, and one of the split's name (annotations/instances_val2017.json: val2017).
    """
    split = path.stem.partition("_")[2] or path.stem
    around = dict.fromkeys((*places, path.parent, path.parent.parent))
    inside = ("", split, f"images/{split}", "images", f"{split}/images")
    tried = [place / each for place in around for each in inside]
    for folder in tried:
        if any(exists(folder / picture.file_name) for picture in pictures[:10]):
            return folder
    return tried[0]


# ---- writing


def category_numbers(dataset: Dataset) -> tuple[int, ...]:
    """COCO's number of each class: those that the data set has, COCO's own for its 80, else from 1.

    A class that the numbers leave out (-1) makes all of them count from 1.
    """
    ids = dataset.category_ids
    if ids is not None and len(set(ids)) == len(dataset.names) and min(ids, default=-1) >= 0:
        return ids
    names = dataset.names
    if len(names) == 80 and (names[0], names[-1]) == ("person", "toothbrush"):
        # here, because it brings torch
        from darknet_torch.data.coco_classes import COCO_CATEGORY_IDS

        return COCO_CATEGORY_IDS
    return tuple(range(1, len(names) + 1))


def write_json(path: Path, dataset: Dataset, files: Sequence[str]) -> None:
    """Write the annotations of samples whose pictures have these names."""
    numbers = category_numbers(dataset)
    own = len({sample.image_id for sample in dataset.samples}) == len(dataset)
    content: dict[str, list[Any]] = {key: [] for key in _LISTS}
    for class_id, name in zip(numbers, dataset.names, strict=True):
        content["categories"].append({"id": class_id, "name": name, "supercategory": ""})
    for place, (sample, file) in enumerate(zip(dataset.samples, files, strict=True), start=1):
        image_id = sample.image_id if own else place
        size = {"width": sample.width, "height": sample.height}
        content["images"].append({"id": image_id, "file_name": file, **size})
        for row in _annotations(sample, numbers):
            known = {"id": len(content["annotations"]) + 1, "image_id": image_id}
            content["annotations"].append(known | row)
    write_atomically(path, json.dumps(content))


def _annotations(sample: Sample, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    truth = sample.truth
    for index, (left, top, right, bottom) in enumerate(truth.xyxy.tolist()):
        row = {
            "category_id": numbers[int(truth.class_id[index])],
            "bbox": [left, top, right - left, bottom - top],
            "area": float(truth.area[index]),
            "iscrowd": int(truth.crowd[index]),
        }
        ours = {key: 1 for key in ("difficult", "truncated") if getattr(truth, key)[index]}
        yield row | ours
