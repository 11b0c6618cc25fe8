"""COCO's annotations: one JSON file for all images.

    images: id, file_name, width, height;   categories: id, name
    annotations: image_id, category_id, bbox (left, top, width, height in pixels), area, iscrowd

Classes are numbered in the order of the category ids, as Darknet numbers COCO's 80 (whose ids go
to 90), unless names are given: then by name. Where some names are spelled otherwise in the file
(Darknet's sofa is COCO's couch), the categories without a name get the classes that are left, if
there are as many categories as names and most of them match. `difficult` and `truncated` are keys
of our own, kept from VOC.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from darknet_torch.data.messages import finite_number, shown
from darknet_torch.data.outlines import Outline, read_outline
from darknet_torch.data.paths import exists
from darknet_torch.data.problems import AnnotatedBox, ProblemList
from darknet_torch.errors import DataError
from darknet_torch.files import read_bytes
from darknet_torch.safety.text import printable

__all__ = ["LISTS", "CocoFile", "CocoImage", "image_folder", "read_json"]

LISTS = ("images", "categories", "annotations")
"""The lists of a file."""
MAX_JSON = 1 << 29  # that of COCO's train2017 is 448 MB

JsonObject = Mapping[str, Any]


class CocoImage(NamedTuple):
    """An entry of `images`; its size is (width, height), or (0, 0) where it has none."""

    file_name: str
    image_id: int
    size: tuple[int, int]
    where: str


class CocoFile(NamedTuple):
    """The content of a file; `boxes` by image id."""

    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: tuple[CocoImage, ...]
    boxes: Mapping[int, Sequence[AnnotatedBox]]


def read_json(
    path: Path, names: Sequence[str] | None, problems: ProblemList, *, masks: bool = False
) -> CocoFile:
    """Read a file.

    Args:
        path: of the file.
        names: of the classes; None: those of the categories.
        problems: entries that are wrong are appended here, and left out.
        masks: read the outlines of objects too.

    Raises:
        DataError: unreadable, more than 512 MB, no JSON, or a list of the three is missing.
    """
    content, file = _load(path), str(path)
    rows = {key: list(_rows(content, key, file, problems)) for key in LISTS}
    categories = _without_headings(_categories(rows["categories"], problems), rows, problems)
    classes = _classes(categories, names, file, problems)
    images = tuple(_images(rows["images"], problems))
    boxes: dict[int, list[AnnotatedBox]] = {image.image_id: [] for image in images}
    for where, row in rows["annotations"]:
        box = _box(where, row, classes, categories, problems)
        if box is not None and masks:
            box = box._replace(outline=_outline(where, row, problems))
        if box is not None and row["image_id"] in boxes:
            boxes[row["image_id"]].append(box)
        elif box is not None:
            problems.add("malformed entry", where, f"image_id {row['image_id']}: no such image")
    sorted_names = tuple(categories[each] for each in sorted(categories))
    ids = {class_id: each for each, class_id in sorted(classes.items(), reverse=True)}
    names = sorted_names if names is None else tuple(names)
    return CocoFile(names, tuple(ids.get(n, -1) for n in range(len(names))), images, boxes)


def _load(path: Path) -> JsonObject:
    raw = read_bytes(path, MAX_JSON, DataError, "an annotation")
    try:
        content = json.loads(raw.decode(json.detect_encoding(raw), "surrogateescape"))
    except RecursionError as error:
        raise DataError(f"{printable(str(path))}: no COCO file: brackets too deep") from error
    except ValueError as error:  # no JSON, no UTF-8, or a number of thousands of digits
        raise DataError(f"{printable(str(path))}: no JSON: {shown(str(error))}") from error
    if not isinstance(content, dict):
        what = f"{shown(content)}; images, annotations ... expected"
        raise DataError(f"{printable(str(path))}: {what}")
    return content


def _rows(
    content: JsonObject, key: str, file: str, problems: ProblemList
) -> Iterator[tuple[str, JsonObject]]:
    rows = content.get(key)
    if not isinstance(rows, list):
        what = "missing" if key not in content else shown(rows)
        raise DataError(f"{printable(file)}: {key}: {what}; a list expected")
    for index, row in enumerate(rows):
        if isinstance(row, dict):
            yield f"{file}: {key}[{index}]", row
        else:
            problems.add("malformed entry", f"{file}: {key}[{index}]", f"{shown(row)}, no entry")


def _categories(rows: Sequence[tuple[str, JsonObject]], problems: ProblemList) -> dict[int, str]:
    categories: dict[int, str] = {}
    for where, row in rows:
        number, name = row.get("id"), row.get("name")
        if not _is_int(number) or not isinstance(name, str):
            what = f"id {shown(number)}, name {shown(name)}; a whole number and a word expected"
            problems.add("malformed entry", where, what)
        elif number in categories:
            problems.add("malformed entry", where, f"id {shown(number)} again")
        else:
            categories[number] = printable(name)
    return categories


def _without_headings(
    categories: dict[int, str],
    rows: Mapping[str, Sequence[tuple[str, JsonObject]]],
    problems: ProblemList,
) -> dict[int, str]:
    """Leave out the categories without boxes that others have as their supercategory."""
    used = {
        row.get("category_id") for _, row in rows["annotations"] if _is_int(row.get("category_id"))
    }
    above: dict[str, set[int]] = {}
    for _, row in rows["categories"]:
        if isinstance(row.get("supercategory"), str) and _is_int(row.get("id")):
            above.setdefault(printable(row["supercategory"]), set()).add(row["id"])
    headings = {
        each
        for each, name in categories.items()
        if each not in used and above.get(name, set()) - {each}
    }
    for where, row in rows["categories"]:
        if _is_int(row.get("id")) and row["id"] in headings:
            what = f"category {row['id']}, {shown(row['name'])}, stands above others; no class"
            problems.add("heading", where, what)
    return {each: name for each, name in categories.items() if each not in headings}


def _classes(
    categories: Mapping[int, str], names: Sequence[str] | None, file: str, problems: ProblemList
) -> dict[int, int]:
    """Category id -> class index."""
    ids = sorted(categories)
    if names is None:
        return {each: index for index, each in enumerate(ids)}
    numbers = {name: index for index, name in reversed(list(enumerate(names)))}
    classes = {each: numbers[categories[each]] for each in ids if categories[each] in numbers}
    if len(ids) != len(names) or 2 * len(classes) <= len(ids):
        return classes
    taken = set(classes.values())
    free = [index for index in range(len(names)) if index not in taken]
    left = [each for each in ids if each not in classes]
    for each, index in zip(left, free, strict=False):
        what = f"category {each}, {shown(categories[each])}, is taken for {names[index]}"
        problems.add("other spelling", f"{file}: categories", what)
        classes[each] = index
    return classes


def _images(rows: Sequence[tuple[str, JsonObject]], problems: ProblemList) -> Iterator[CocoImage]:
    seen: set[int] = set()
    for where, row in rows:
        image_id, name = row.get("id"), row.get("file_name")
        if not _is_int(image_id) or not isinstance(name, str) or not name:
            what = f"id {shown(image_id)}, file_name {shown(name)}; a number and a path expected"
            problems.add("malformed entry", where, what)
        elif image_id in seen:
            problems.add("malformed entry", where, f"id {shown(image_id)} again")
        else:
            seen.add(image_id)
            yield CocoImage(name, image_id, _size(row, where, problems), where)


def _size(row: JsonObject, where: str, problems: ProblemList) -> tuple[int, int]:
    width, height = row.get("width"), row.get("height")
    if _is_int(width) and _is_int(height) and min(width, height) > 0:
        return width, height
    what = f"width {shown(width)}, height {shown(height)}; pixels expected"
    problems.add("malformed entry", where, what)
    return 0, 0


def _box(
    where: str,
    row: JsonObject,
    classes: Mapping[int, int],
    categories: Mapping[int, str],
    problems: ProblemList,
) -> AnnotatedBox | None:
    category, bbox = row.get("category_id"), row.get("bbox")
    if not _is_int(row.get("image_id")) or not _is_int(category):
        numbers = f"image_id {shown(row.get('image_id'))}, category_id {shown(category)}"
        problems.add("malformed entry", where, f"{numbers}; whole numbers expected")
        return None
    if category not in classes:
        name = shown(categories[category]) if category in categories else "of no category"
        problems.add("unknown class", where, f"category_id {shown(category)}, {name}, has no class")
        return None
    if not isinstance(bbox, list) or len(bbox) != 4:
        what = f"bbox: {shown(bbox)}; left top width height expected"
        problems.add("column count", where, what)
        return None
    try:
        corners, area = _corners(bbox), _area(row)
    except DataError as error:
        problems.add("not a number", where, str(error))
        return None
    difficult, truncated, crowd = (row.get(key) == 1 for key in _FLAGS)
    return AnnotatedBox(where, classes[category], corners, difficult, truncated, crowd, area)


def _outline(where: str, row: JsonObject, problems: ProblemList) -> Outline | None:
    try:
        return read_outline(row.get("segmentation", []))
    except DataError as error:
        problems.add("bad outline", where, str(error))
        return None


_FLAGS = ("difficult", "truncated", "iscrowd")


def _corners(bbox: Sequence[Any]) -> tuple[float, float, float, float]:
    if any(isinstance(value, str) for value in bbox):
        raise DataError("bbox: words; numbers expected")
    left, top, width, height = (finite_number(value) for value in bbox)
    return left, top, left + width, top + height


def _area(row: JsonObject) -> float | None:
    area = finite_number(row["area"]) if "area" in row else None
    if area is not None and not 0 <= area < 1e18:
        raise DataError(f"area: {shown(area)}; 0 or more expected")
    return area


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


def image_folder(path: Path, images: Sequence[CocoImage], search_folders: Sequence[Path]) -> Path:
    """Return the folder of a file's images: the first candidate that has one of the first ten.

    Candidates are the search folders, the folder of the file and the one around it; in each the
    folder itself, `images`, one of the split's name (annotations/instances_val2017.json: val2017),
    and FiftyOne's `data`.
    """
    split = path.stem.partition("_")[2] or path.stem
    around = dict.fromkeys((*search_folders, path.parent, path.parent.parent))
    inside = ("", split, f"images/{split}", "images", f"{split}/images", "data")
    candidates = [folder / each for folder in around for each in inside]
    for folder in candidates:
        if any(exists(folder / image.file_name) for image in images[:10]):
            return folder
    return candidates[0]
