"""Pascal VOC's annotations: an XML file a picture.

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
from darknet_torch.data.dataset import Truth
from darknet_torch.data.messages import number, plain, shown
from darknet_torch.data.paths import Listed, first_file, is_picture, list_rows
from darknet_torch.data.problems import Box, Report
from darknet_torch.data.safe_xml import Element, read_xml
from darknet_torch.errors import DataError

__all__ = ["annotation_paths", "has_annotations", "is_layout", "layout", "read_boxes", "write_xml"]

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def is_layout(folder: Path) -> bool:
    """Whether a folder is laid out as VOC's are."""
    return (folder / "Annotations").is_dir() and (folder / "JPEGImages").is_dir()


def layout(folder: Path, split: str) -> list[Listed]:
    """The pictures of a split of a folder in VOC's layout; "all": every annotation.

    Raises DataError that names the splits, if there is no such.
    """
    there = {path.stem: path for path in (folder / "JPEGImages").iterdir() if is_picture(path)}
    return [
        Listed(there.get(name, folder / "JPEGImages" / f"{name}.jpg"), where)
        for name, where in _names(folder, split)
    ]


def _names(folder: Path, split: str) -> list[tuple[str, str]]:
    sets, notes = folder / "ImageSets" / "Main", folder / "Annotations"
    if split == "all" or not sets.is_dir():
        return [(path.stem, str(path)) for path in sorted(notes.glob("*.xml"))]
    path = sets / f"{split}.txt"
    if "/" in split or not path.is_file():
        known = ", ".join(sorted(each.stem for each in sets.glob("*.txt")))
        what = f"{folder}: no split {split!r}; there are {known or 'none'}, all"
        raise DataError(plain(what))
    # a row of the lists of single classes has a second column: whether the class is there
    return [(row.split()[0], f"{path}:{number}") for number, row in list_rows(path)]


def annotation_paths(picture: Path, folder: Path | None = None) -> list[Path]:
    """Where the annotation of a picture may lie, the best place first."""
    name = f"{picture.stem}.xml"
    if folder is not None:
        return [folder / picture.parent.name / name, folder / name]
    parts = list(picture.parts[:-1])
    places = [picture.parent / name]
    for index in reversed(range(len(parts))):
        if parts[index] in ("images", "JPEGImages"):
            parts[index] = "Annotations"
            places.insert(0, Path(*parts, name))
            break
    return places


def has_annotations(pictures: Iterable[Path], folder: Path | None = None) -> bool:
    """Whether any of these pictures has an annotation."""
    return any(first_file(annotation_paths(picture, folder)) for picture in pictures)


def read_boxes(
    paths: Sequence[Path], size: tuple[int, int], classes: Classes, report: Report, picture: Path
) -> list[Box]:
    """The boxes of a picture of width x height pixels; the file is the first that is there."""
    path = first_file(paths)
    if path is None:
        report.add("missing label file", str(picture), f"no annotation; looked for {paths[0]}")
        return []
    try:
        root = read_xml(path)
        if root.tag != "annotation":
            raise DataError(f"line {root.line}: <{shown(root.tag)}>; <annotation> wanted")
    except DataError as error:
        report.add("unreadable label file", str(path), str(error).removeprefix(f"{path}: "))
        return []
    _check_size(root, size, str(path), report)
    objects = list(root.all("object"))
    if not objects:
        report.add("negative picture", str(path), "no object: nothing to find here")
    found = (_box(item, str(path), classes, report) for item in objects)
    return [box for box in found if box is not None]


def _check_size(root: Element, size: tuple[int, int], where: str, report: Report) -> None:
    node = root.find("size")
    if node is None:
        return  # many tools leave it out
    told = (node.get("width"), node.get("height"))
    try:
        same = tuple(number(value) for value in told) == size
    except DataError:
        same = False
    if not same:
        what = f"size {shown(told[0])} x {shown(told[1])}, the picture has {size[0]} x {size[1]}"
        report.add("size disagrees", f"{where}:{node.line}", what)


def _box(item: Element, file: str, classes: Classes, report: Report) -> Box | None:
    place = item.find("bndbox")
    where = f"{file}:{item.line if place is None else place.line}"
    name = item.get("name")
    if place is None or not name:
        missing = "<name>" if place is not None else "<bndbox>"
        report.add("malformed entry", where, f"an <object> without {missing}")
        return None
    try:
        left, top, right, bottom = (number(place.get(tag)) for tag in _CORNERS)
    except DataError as error:
        report.add("not a number", where, f"<bndbox>: {error}")
        return None
    if right <= left or bottom <= top:
        corners = " ".join(f"{value:g}" for value in (left, top, right, bottom))
        report.add("zero area", where, f"zero area: xmin ymin xmax ymax are {corners}")
        return None
    class_id = classes.number(name)
    if class_id is None:
        report.add("unknown class", where, f"{shown(name)} is not among the names")
        return None
    difficult, truncated = (item.get(tag) == "1" for tag in ("difficult", "truncated"))
    return Box(where, class_id, (left - 1, top - 1, right, bottom), difficult, truncated)


def write_xml(truth: Truth, names: Sequence[str], picture: str, width: int, height: int) -> str:
    """The annotation of a picture; corners in whole pixels, a box at least two pixels wide.

    VOC knows no crowds: they are written as difficult, which evaluation passes over alike.
    """
    root = ElementTree.Element("annotation")
    _add(root, filename=picture)
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    for index, box in enumerate(truth.xyxy.tolist()):
        item = ElementTree.SubElement(root, "object")
        hard = bool(truth.difficult[index] or truth.crowd[index])
        _add(item, name=names[int(truth.class_id[index])], pose="Unspecified")
        _add(item, truncated=int(truth.truncated[index]), difficult=int(hard))
        left, top = round(box[0]) + 1, round(box[1]) + 1
        right, bottom = max(round(box[2]), left + 1), max(round(box[3]), top + 1)
        corners = zip(_CORNERS, (left, top, right, bottom), strict=True)
        _add(ElementTree.SubElement(item, "bndbox"), **dict(corners))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(parent: ElementTree.Element, **children: object) -> None:
    for tag, value in children.items():
        ElementTree.SubElement(parent, tag).text = plain(str(value))
