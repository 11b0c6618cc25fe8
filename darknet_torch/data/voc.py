"""Pascal VOC's annotations: an XML file for each image.

    <annotation> <size> <width>, <height> </size>
      <object> <name>, <difficult>, <truncated>, <bndbox> <xmin>, <ymin>, <xmax>, <ymax> ...

Corners are pixels counted from 1, and the last one belongs to the box. Here a box reaches from
xmin - 1 to xmax, so that its width is xmax - xmin + 1. A box with xmax <= xmin or ymax <= ymin has
no area: tools that mean a size of 0 write it so.

A folder in VOC's layout has JPEGImages, Annotations, and ImageSets/Main/<split>.txt.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from darknet_torch.data.classes import Classes
from darknet_torch.data.dataset import GroundTruth
from darknet_torch.data.messages import finite_number, shown
from darknet_torch.data.paths import (
    ListedImage,
    first_file,
    is_image,
    read_label_file,
    read_list,
)
from darknet_torch.data.problems import AnnotatedBox, ProblemList
from darknet_torch.data.safe_xml import Element, read_xml
from darknet_torch.errors import DataError
from darknet_torch.files import cfg_folder
from darknet_torch.parsing.parser import read_names
from darknet_torch.safety.text import printable

__all__ = [
    "annotation_paths",
    "class_names",
    "has_annotations",
    "is_voc_folder",
    "read_boxes",
    "split_images",
    "to_xml",
]

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def class_names() -> tuple[str, ...]:
    """Return VOC's 20 class names: a part of VOC need not have every class."""
    return read_names(cfg_folder() / "voc.names")


def is_voc_folder(folder: Path) -> bool:
    """Return whether a folder is laid out as VOC's are."""
    return (folder / "Annotations").is_dir() and (folder / "JPEGImages").is_dir()


def split_images(folder: Path, split: str) -> list[ListedImage]:
    """Return the images of a split of a folder in VOC's layout; "all": those with an annotation.

    Raises:
        DataError: there is no such split; the message names those that there are.
    """
    images = {path.stem: path for path in (folder / "JPEGImages").iterdir() if is_image(path)}
    return [
        ListedImage(images.get(name, folder / "JPEGImages" / f"{name}.jpg"), where)
        for name, where in _names(folder, split)
    ]


def _names(folder: Path, split: str) -> list[tuple[str, str]]:
    sets, annotations = folder / "ImageSets" / "Main", folder / "Annotations"
    if split == "all" or not sets.is_dir():
        return [(path.stem, str(path)) for path in sorted(annotations.glob("*.xml"))]
    path = sets / f"{split}.txt"
    if "/" in split or not path.is_file():
        known = ", ".join(sorted(each.stem for each in sets.glob("*.txt")))
        what = f"{folder}: no split {split!r}; there are {known or 'none'}, all"
        raise DataError(printable(what))
    # a row of the lists of single classes has a second column: whether the class is there
    return [(row.split()[0], f"{path}:{number}") for number, row in read_list(path)]


def annotation_paths(image: Path, folder: Path | None = None) -> list[Path]:
    """Return where the annotation of an image may lie, the best path first.

    Args:
        image: path of the image.
        folder: where all annotations lie, in folders like those of the images or without.
    """
    name = f"{image.stem}.xml"
    if folder is not None:
        return [folder / image.parent.name / name, folder / name]
    parts = list(image.parts[:-1])
    paths = [image.parent / name]
    for index in reversed(range(len(parts))):
        if parts[index] in ("images", "JPEGImages"):
            parts[index] = "Annotations"
            paths.insert(0, Path(*parts, name))
            break
    return paths


def has_annotations(images: Iterable[Path], folder: Path | None = None) -> bool:
    """Return whether any of these images has an annotation."""
    return any(first_file(annotation_paths(image, folder)) for image in images)


def read_boxes(
    paths: Sequence[Path],
    size: tuple[int, int],
    classes: Classes,
    problems: ProblemList,
    image: Path,
) -> list[AnnotatedBox]:
    """Read the boxes of an image from the first annotation that exists.

    Args:
        paths: where the file may be.
        size: (width, height) of the image in pixels.
        classes: of the data set.
        problems: what is wrong is appended here.
        image: its path, for messages.
    """
    file = read_label_file(paths, image, "annotation", _read_root, problems)
    if file is None:
        return []
    path, root = file
    _check_size(root, size, str(path), problems)
    objects = list(root.all("object"))
    if not objects:
        problems.add("negative picture", str(path), "an annotation without objects")
    boxes = (_box(item, str(path), classes, problems) for item in objects)
    return [box for box in boxes if box is not None]


def _read_root(path: Path) -> Element:
    root = read_xml(path)
    if root.tag != "annotation":
        raise DataError(f"line {root.line}: <{shown(root.tag)}>; <annotation> expected")
    return root


def _check_size(root: Element, size: tuple[int, int], where: str, problems: ProblemList) -> None:
    node = root.find("size")
    if node is None:
        return  # many tools leave it out
    annotated = (node.get("width"), node.get("height"))
    try:
        same = tuple(finite_number(value) for value in annotated) == size
    except DataError:
        same = False
    if not same:
        text = " x ".join(map(shown, annotated))
        what = f"size {text}, the image has {size[0]} x {size[1]}"
        problems.add("size disagrees", f"{where}:{node.line}", what)


def _box(item: Element, file: str, classes: Classes, problems: ProblemList) -> AnnotatedBox | None:
    node = item.find("bndbox")
    where = f"{file}:{item.line if node is None else node.line}"
    name = item.get("name")
    if node is None or not name:
        missing = "<name>" if node is not None else "<bndbox>"
        problems.add("malformed entry", where, f"an <object> without {missing}")
        return None
    try:
        left, top, right, bottom = (finite_number(node.get(tag)) for tag in _CORNERS)
    except DataError as error:
        problems.add("not a number", where, f"<bndbox>: {error}")
        return None
    if right <= left or bottom <= top:
        corners = " ".join(f"{value:g}" for value in (left, top, right, bottom))
        problems.add("zero area", where, f"zero area: xmin ymin xmax ymax are {corners}")
        return None
    class_id = classes.class_id(name)
    if class_id is None:
        problems.add("unknown class", where, f"{shown(name)} is not among the names")
        return None
    difficult, truncated = (item.get(tag) == "1" for tag in ("difficult", "truncated"))
    return AnnotatedBox(where, class_id, (left - 1, top - 1, right, bottom), difficult, truncated)


def to_xml(
    ground_truth: GroundTruth, names: Sequence[str], image: str, width: int, height: int
) -> str:
    """Return the annotation of an image; corners in whole pixels, a box at least two pixels wide.

    VOC knows no crowds: they are written as difficult, which evaluation ignores alike.

    Args:
        ground_truth: of the image.
        names: of the classes.
        image: name of the image file.
        width: of the image in pixels.
        height: of the image in pixels.
    """
    root = ElementTree.Element("annotation")
    _add(root, filename=image)
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    for index, box in enumerate(ground_truth.xyxy.tolist()):
        item = ElementTree.SubElement(root, "object")
        difficult = bool(ground_truth.difficult[index] or ground_truth.crowd[index])
        _add(item, name=names[int(ground_truth.class_id[index])], pose="Unspecified")
        _add(item, truncated=int(ground_truth.truncated[index]), difficult=int(difficult))
        left, top = round(box[0]) + 1, round(box[1]) + 1
        right, bottom = max(round(box[2]), left + 1), max(round(box[3]), top + 1)
        corners = zip(_CORNERS, (left, top, right, bottom), strict=True)
        _add(ElementTree.SubElement(item, "bndbox"), **dict(corners))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(parent: ElementTree.Element, **children: object) -> None:
    for tag, value in children.items():
        ElementTree.SubElement(parent, tag).text = printable(str(value))
