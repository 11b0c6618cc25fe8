"""Darknet's labels: a text file for each image, a row `class x y w h` for each object.

x, y is the centre of the box; all four are fractions of the image's width and height. Where the
label file of an image lies, each fork decides by a rule of its own (`fill_truth_detection` of
pjreddie, `replace_image_to_label` of AlexeyAB):

    pjreddie    the first "images" of the path becomes "labels", so does "JPEGImages"
    alexeyab    /images/train2014/, val2014, train2017, val2017 become /labels/..., /JPEGImages/
                becomes /labels/; any other label lies beside its image
    None        the folder "images" or "JPEGImages" that is nearest to the file becomes "labels";
                else beside it; else by the two rules. The first file that exists counts

Objects with their pixels are in a mask file, a row `class n,n,...` for each, runs of pixels
(`fill_truth_iseg` of pjreddie): its path is that of a label file, with "mask" for "labels".
"""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from darknet_torch.data.classes import Classes
from darknet_torch.data.dataset import GroundTruth
from darknet_torch.data.messages import finite_number, shown
from darknet_torch.data.outlines import read_runs
from darknet_torch.data.paths import first_file, read_label_file
from darknet_torch.data.problems import AnnotatedBox, ProblemList
from darknet_torch.errors import DataError
from darknet_torch.parsing.parser import read_text

__all__ = ["RULES", "has_labels", "label_paths", "mask_paths", "read_boxes", "to_label_rows"]

RULES = ("pjreddie", "alexeyab")
MAX_LABELS, MAX_MASKS = 1 << 20, 1 << 24
_SPLITS_OF_COCO = ("train2014", "val2014", "train2017", "val2017")


def label_paths(image: Path, rule: str | None = None, folder: Path | None = None) -> list[Path]:
    """Return where the label file of an image may lie, the best path first.

    Args:
        image: path of the image.
        rule: one of RULES, or None for all.
        folder: where all labels lie, in folders like those of the images or without.
    """
    if folder is not None:
        name = f"{image.stem}.txt"
        return [folder / image.parent.name / name, folder / name]
    stem = _stem(image)
    stems = {"pjreddie": [_pjreddie(stem)], "alexeyab": [_alexeyab(stem)]}
    if rule is None:
        stems[""] = [_nearest(image), stem, *stems["alexeyab"], *stems["pjreddie"]]
    return [Path(f"{each}.txt") for each in dict.fromkeys(stems[rule or ""])]


def mask_paths(image: Path, folder: Path | None = None) -> list[Path]:
    """Return where the mask file of an image may lie; arguments as of `label_paths`."""
    if folder is not None:
        return label_paths(image, None, folder)
    stem = _stem(image)
    stems = dict.fromkeys((_nearest(image, "mask"), _pjreddie(stem, "mask")))
    return [Path(f"{each}.txt") for each in stems if each != stem]


def _pjreddie(stem: str, name: str = "labels") -> str:
    return stem.replace("images", name, 1).replace("JPEGImages", name, 1)


def _alexeyab(stem: str) -> str:
    for split in _SPLITS_OF_COCO:
        stem = stem.replace(f"/images/{split}/", f"/labels/{split}/", 1)
    return stem.replace("/JPEGImages/", "/labels/", 1)


def _nearest(image: Path, name: str = "labels") -> str:
    parts = list(image.parts[:-1])
    for index in reversed(range(len(parts))):
        if parts[index] in ("images", "JPEGImages"):
            parts[index] = name
            return str(Path(*parts, image.stem))
    return _stem(image)


def _stem(image: Path) -> str:
    path = str(image)
    return path[: len(path) - len(image.suffix)]


def has_labels(images: Iterable[Path], folder: Path | None = None) -> bool:
    """Return whether any of these images has a label file."""
    return any(first_file(label_paths(image, None, folder)) for image in images)


def read_boxes(
    paths: Sequence[Path],
    size: tuple[int, int],
    classes: Classes,
    problems: ProblemList,
    image: Path,
    *,
    masks: bool = False,
) -> list[AnnotatedBox]:
    """Read the boxes of an image from the first label file that exists.

    Args:
        paths: where the file may be.
        size: (width, height) of the image in pixels.
        classes: of the data set.
        problems: what is wrong is appended here.
        image: its path, for messages.
        masks: the file may be a mask file; a row's box is that of its pixels.
    """
    most = MAX_MASKS if masks else MAX_LABELS
    file = read_label_file(paths, image, "label file", partial(_read_text, most=most), problems)
    if file is None:
        return []
    path, text = file
    rows = [(n, line.split()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not rows:
        problems.add("negative picture", str(path), "an empty label file: no objects")
    boxes = (_box(f"{path}:{n}", columns, size, classes, problems, masks) for n, columns in rows)
    return [box for box in boxes if box is not None]


def _other_format(columns: int) -> str:
    """Return what a row of so many columns seems to be, for a message."""
    if columns == 6:
        return "; is the last one a score?"
    return "; is it a polygon?" if columns > 6 and columns % 2 else ""


def _read_text(path: Path, most: int) -> str:
    return read_text(path, most, DataError, "a label")


def _box(
    where: str,
    columns: list[str],
    size: tuple[int, int],
    classes: Classes,
    problems: ProblemList,
    masks: bool,
) -> AnnotatedBox | None:
    has_runs = masks and len(columns) == 2
    if len(columns) != 5 and not has_runs:
        what = f"{len(columns)} columns: {shown(' '.join(columns))}; class x y w h expected"
        problems.add("column count", where, f"{what}{_other_format(len(columns))}")
        return None
    try:
        class_id = _class_index(columns[0])
        x, y, w, h = (0.0,) * 4 if has_runs else map(finite_number, columns[1:])
    except DataError as error:
        problems.add("not a number", where, str(error))
        return None
    if not classes.has(class_id):
        last = "" if classes.names is None else f"; 0 to {len(classes.names) - 1} expected"
        problems.add("class out of range", where, f"class {shown(columns[0])}{last}")
        return None
    if has_runs:
        return _with_runs(where, class_id, columns[1], size, problems)
    if x == y == w == h == 0:  # YOLO9000's images for classification
        return AnnotatedBox(where, class_id, (0.0, 0.0, 0.0, 0.0), class_only=True)
    # not w * width: (x + w / 2) of a box as wide as the image is 1 exactly
    corners = ((x - w / 2) * size[0], (y - h / 2) * size[1])
    return AnnotatedBox(where, class_id, (*corners, (x + w / 2) * size[0], (y + h / 2) * size[1]))


def _with_runs(
    where: str, class_id: int, runs: str, size: tuple[int, int], problems: ProblemList
) -> AnnotatedBox | None:
    try:
        outline = read_runs(runs, *size)
    except DataError as error:
        problems.add("bad outline", where, str(error))
        return None
    pixels = outline.mask(*size)
    if not pixels.any():
        problems.add("zero area", where, "no pixel")
        return None
    (rows, columns) = (np.flatnonzero(pixels.any(axis=axis)).tolist() for axis in (1, 0))
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return AnnotatedBox(where, class_id, box, area=float(pixels.sum()), outline=outline)


def _class_index(text: str) -> int:
    if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20:
        return int(text)
    raise DataError(f"class {shown(text)}: a whole number expected")


def to_label_rows(ground_truth: GroundTruth, width: int, height: int) -> str:
    """Return a line `class x y w h` for each object of an image of that size, with ten digits."""
    lines = []
    for (left, top, right, bottom), class_id in zip(
        ground_truth.xyxy.tolist(), ground_truth.class_id.tolist(), strict=True
    ):
        x, w = (left + right) / 2 / width, (right - left) / width
        y, h = (top + bottom) / 2 / height, (bottom - top) / height
        lines.append(" ".join([str(class_id), *(f"{value:.10g}" for value in (x, y, w, h))]) + "\n")
    return "".join(lines)
