"""Darknet's labels: a text file a picture, a row `class x y w h` an object.

x, y is the middle of the box; all four are fractions of the picture's width and height. Where the
file lies, each fork tells by a rule of its own (`fill_truth_detection`, `replace_image_to_label`):

    pjreddie    the first "images" of the path becomes "labels", so does "JPEGImages"
    alexeyab    /images/train2014/, val2014, train2017, val2017 become /labels/..., /JPEGImages/
                becomes /labels/; any other label lies beside its picture
    None        the folder "images" or "JPEGImages" that is nearest to the file becomes "labels";
                else beside it; else what the two rules say. The first that is there counts
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from darknet_torch.data.classes import Classes
from darknet_torch.data.dataset import Truth
from darknet_torch.data.messages import number, shown
from darknet_torch.data.paths import first_file
from darknet_torch.data.problems import Box, Report
from darknet_torch.errors import DataError
from darknet_torch.parsing.parser import read_text

__all__ = ["RULES", "has_labels", "label_paths", "read_boxes", "write_rows"]

RULES = ("pjreddie", "alexeyab")
MAX_LABELS = 1 << 20
_SPLITS_OF_COCO = ("train2014", "val2014", "train2017", "val2017")


def label_paths(picture: Path, rule: str | None = None, folder: Path | None = None) -> list[Path]:
    """Where the labels of a picture may lie, the best place first.

    folder: where all labels lie, in folders like those of the pictures or without.
    """
    if folder is not None:
        name = f"{picture.stem}.txt"
        return [folder / picture.parent.name / name, folder / name]
    path = str(picture)
    stem = path[: len(path) - len(picture.suffix)]
    found = {"pjreddie": [_pjreddie(stem)], "alexeyab": [_alexeyab(stem)]}
    if rule is None:
        found[""] = [_nearest(picture, stem), stem, *found["alexeyab"], *found["pjreddie"]]
    return [Path(f"{each}.txt") for each in dict.fromkeys(found[rule or ""])]


def _pjreddie(stem: str) -> str:
    return stem.replace("images", "labels", 1).replace("JPEGImages", "labels", 1)


def _alexeyab(stem: str) -> str:
    for split in _SPLITS_OF_COCO:
        stem = stem.replace(f"/images/{split}/", f"/labels/{split}/", 1)
    return stem.replace("/JPEGImages/", "/labels/", 1)


def _nearest(picture: Path, stem: str) -> str:
    parts = list(picture.parts[:-1])
    for index in reversed(range(len(parts))):
        if parts[index] in ("images", "JPEGImages"):
            parts[index] = "labels"
            return str(Path(*parts, picture.stem))
    return stem


def has_labels(pictures: Iterable[Path], folder: Path | None = None) -> bool:
    """Whether any of these pictures has a label file."""
    return any(first_file(label_paths(picture, None, folder)) for picture in pictures)


def read_boxes(
    paths: Sequence[Path], size: tuple[int, int], classes: Classes, report: Report, picture: Path
) -> list[Box]:
    """The boxes of a picture of width x height pixels; the file is the first that is there."""
    path = first_file(paths)
    if path is None:
        report.add("missing label file", str(picture), f"no label file; looked for {paths[0]}")
        return []
    try:
        text = read_text(path, MAX_LABELS, DataError, "a label")
    except DataError as error:
        report.add("unreadable label file", str(path), str(error).removeprefix(f"{path}: "))
        return []
    rows = [(n, line.split()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not rows:
        report.add("negative picture", str(path), "an empty label file: nothing to find here")
    found = (_box(f"{path}:{n}", columns, size, classes, report) for n, columns in rows)
    return [box for box in found if box is not None]


def _box(
    where: str, columns: list[str], size: tuple[int, int], classes: Classes, report: Report
) -> Box | None:
    if len(columns) != 5:
        what = f"{len(columns)} columns: {shown(' '.join(columns))}; class x y w h wanted"
        report.add("column count", where, what)
        return None
    try:
        class_id = _whole(columns[0])
        x, y, w, h = (number(column) for column in columns[1:])
    except DataError as error:
        report.add("not a number", where, str(error))
        return None
    if not classes.has(class_id):
        last = "" if classes.names is None else f"; there are 0 to {len(classes.names) - 1}"
        report.add("class out of range", where, f"class {shown(columns[0])}{last}")
        return None
    # not w * width: (x + w / 2) of a box as wide as the picture is 1 exactly
    corners = ((x - w / 2) * size[0], (y - h / 2) * size[1])
    return Box(where, class_id, (*corners, (x + w / 2) * size[0], (y + h / 2) * size[1]))


def _whole(text: str) -> int:
    if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20:
        return int(text)
    raise DataError(f"class {shown(text)}: a whole number wanted")


def write_rows(truth: Truth, width: int, height: int) -> str:
    """A line `class x y w h` an object, with ten digits."""
    lines = []
    for (left, top, right, bottom), class_id in zip(
        truth.xyxy.tolist(), truth.class_id.tolist(), strict=True
    ):
        x, w = (left + right) / 2 / width, (right - left) / width
        y, h = (top + bottom) / 2 / height, (bottom - top) / height
        lines.append(" ".join([str(class_id), *(f"{value:.10g}" for value in (x, y, w, h))]) + "\n")
    return "".join(lines)
