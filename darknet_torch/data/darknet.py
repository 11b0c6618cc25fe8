"""Darknet's labels: a text file for each image, a row `class x y w h` for each object.

x, y is the centre of the box; all four are fractions of the image's width and height. Where the
label file of an image lies, each fork decides by a rule of its own (`fill_truth_detection` of
pjreddie, `replace_image_to_label` of AlexeyAB):

    pjreddie    the first "images" of the path becomes "labels", so does "JPEGImages"
    alexeyab    /images/train2014/, val2014, train2017, val2017 become /labels/..., /JPEGImages/
                becomes /labels/; any other label lies beside its image
    None        the folder "images" or "JPEGImages" that is nearest to the file becomes "labels";
                else beside it; else by the two rules. The first file that exists counts
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from darknet_torch.data.classes import Classes
from darknet_torch.data.dataset import GroundTruth
from darknet_torch.data.messages import finite_number, shown
from darknet_torch.data.paths import first_file, read_label_file
from darknet_torch.data.problems import AnnotatedBox, ProblemList
from darknet_torch.errors import DataError
from darknet_torch.parsing.parser import read_text

__all__ = ["RULES", "has_labels", "label_paths", "read_boxes", "to_label_rows"]

RULES = ("pjreddie", "alexeyab")
MAX_LABELS = 1 << 20
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
    path = str(image)
    stem = path[: len(path) - len(image.suffix)]
    stems = {"pjreddie": [_pjreddie(stem)], "alexeyab": [_alexeyab(stem)]}
    if rule is None:
        stems[""] = [_nearest(image, stem), stem, *stems["alexeyab"], *stems["pjreddie"]]
    return [Path(f"{each}.txt") for each in dict.fromkeys(stems[rule or ""])]


def _pjreddie(stem: str) -> str:
    return stem.replace("images", "labels", 1).replace("JPEGImages", "labels", 1)


def _alexeyab(stem: str) -> str:
    for split in _SPLITS_OF_COCO:
        stem = stem.replace(f"/images/{split}/", f"/labels/{split}/", 1)
    return stem.replace("/JPEGImages/", "/labels/", 1)


def _nearest(image: Path, stem: str) -> str:
    parts = list(image.parts[:-1])
    for index in reversed(range(len(parts))):
        if parts[index] in ("images", "JPEGImages"):
            parts[index] = "labels"
            return str(Path(*parts, image.stem))
    return stem


def has_labels(images: Iterable[Path], folder: Path | None = None) -> bool:
    """Return whether any of these images has a label file."""
    return any(first_file(label_paths(image, None, folder)) for image in images)


def read_boxes(
    paths: Sequence[Path],
    size: tuple[int, int],
    classes: Classes,
    problems: ProblemList,
    image: Path,
) -> list[AnnotatedBox]:
    """Read the boxes of an image from the first label file that exists.

    Args:
        paths: where the file may be.
        size: (width, height) of the image in pixels.
        classes: of the data set.
        problems: what is wrong is appended here.
        image: its path, for messages.
    """
    file = read_label_file(paths, image, "label file", _read_text, problems)
    if file is None:
        return []
    path, text = file
    rows = [(n, line.split()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not rows:
        problems.add("negative picture", str(path), "an empty label file: no objects")
    boxes = (_box(f"{path}:{n}", columns, size, classes, problems) for n, columns in rows)
    return [box for box in boxes if box is not None]


def _read_text(path: Path) -> str:
    return read_text(path, MAX_LABELS, DataError, "a label")


def _box(
    where: str,
    columns: list[str],
    size: tuple[int, int],
    classes: Classes,
    problems: ProblemList,
) -> AnnotatedBox | None:
    if len(columns) != 5:
        what = f"{len(columns)} columns: {shown(' '.join(columns))}; class x y w h expected"
        problems.add("column count", where, what)
        return None
    try:
        class_id = _class_index(columns[0])
        x, y, w, h = (finite_number(column) for column in columns[1:])
    except DataError as error:
        problems.add("not a number", where, str(error))
        return None
    if not classes.has(class_id):
        last = "" if classes.names is None else f"; 0 to {len(classes.names) - 1} expected"
        problems.add("class out of range", where, f"class {shown(columns[0])}{last}")
        return None
    if x == y == w == h == 0:  # YOLO9000's images for classification
        return AnnotatedBox(where, class_id, (0.0, 0.0, 0.0, 0.0), class_only=True)
    # not w * width: (x + w / 2) of a box as wide as the image is 1 exactly
    corners = ((x - w / 2) * size[0], (y - h / 2) * size[1])
    return AnnotatedBox(where, class_id, (*corners, (x + w / 2) * size[0], (y + h / 2) * size[1]))


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
