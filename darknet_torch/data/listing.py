"""The images of a source, and how the annotation of each is read.

The format is the one that was given, or what the source looks like: a .json is COCO's; a folder
may be in VOC's layout, hold a folder `images`, or one folder for each class; for other images label
files are looked for.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from darknet_torch.data import class_folders, coco, darknet, voc
from darknet_torch.data.classes import Classes
from darknet_torch.data.dataset import NOTES
from darknet_torch.data.description import Description, split_folders
from darknet_torch.data.moved_paths import MovedPaths
from darknet_torch.data.paths import (
    ListedImage,
    find_path,
    first_file,
    images_in_folder,
    is_folder,
    list_images,
)
from darknet_torch.data.problems import AnnotatedBox, ProblemList
from darknet_torch.errors import DataError
from darknet_torch.files import is_file
from darknet_torch.parsing.parser import read_names
from darknet_torch.safety.text import printable

__all__ = ["ReadingState", "UnreadSample", "unread_samples"]

LABELS = {"darknet": "Darknet's text files", "voc": "VOC's XML files"}
"""Guessed format -> its label files in words."""
NAMES_BESIDE = ("classes.txt", "obj.names", "_darknet.labels")
"""Names that labelImg, CVAT and Roboflow write beside images or labels."""
ReadBoxes = Callable[[tuple[int, int], ProblemList], Sequence[AnnotatedBox]]
"""(width, height) of the image, list for problems -> its boxes in pixels."""


@dataclass(frozen=True)
class UnreadSample:
    """A listed image, and the function that reads its boxes once its size is known."""

    image: ListedImage
    read_boxes: ReadBoxes = lambda size, problems: ()
    image_id: int | None = None
    label: int | None = None


@dataclass
class ReadingState:
    """What reading one data set needs and collects."""

    description: Description
    classes: Classes
    label_rule: str | None = None
    masks: bool = False
    problems: ProblemList = field(default_factory=ProblemList)
    category_ids: tuple[int, ...] | None = None
    guesses: dict[str, None] = field(default_factory=dict)
    """What was not given, in words and in order; the values say nothing."""


def unread_samples(part: str, state: ReadingState) -> Iterable[UnreadSample]:
    """Return the images of one part of a split, in the given format, or the one it looks like."""
    description = state.description
    form, folders, source = description.format, description.search_folders, description.source
    if form == "coco" or (form is None and part.lower().endswith(".json")):
        return _from_coco(find_path(part, folders, source), state)
    folder = next((each / part for each in folders if is_folder(each / part)), None)
    in_voc_folder = _from_voc_folder(part, folder, state)
    if in_voc_folder is not None:
        return _with_label_files(in_voc_folder, "voc", state)
    if folder is None:
        images = list_images(part, folders, source, description.near_list)
        return _from_images(images, state)
    inside = split_folders(folder, description.split)
    return chain.from_iterable(_of_folder(each, state) for each in inside)


def _of_folder(folder: Path, state: ReadingState) -> Iterable[UnreadSample]:
    form = state.description.format
    annotations = _coco_json(folder) if form is None else None
    if annotations is not None:
        state.guesses[f"the labels are COCO's, in {printable(annotations.name)}"] = None
        return _from_coco(annotations, state)
    if _has_class_folders(folder, form):
        if form is None:
            state.guesses["each folder of images is a class"] = None
        return _from_class_folders(folder, state)
    return _from_images(images_in_folder(folder), state)


def _coco_json(folder: Path) -> Path | None:
    """Return the file that Roboflow writes beside the images of a split."""
    return first_file([folder / "_annotations.coco.json"])


def _from_voc_folder(
    part: str, folder: Path | None, state: ReadingState
) -> list[ListedImage] | None:
    """The images of a folder in VOC's layout, or of one of its ImageSets."""
    description = state.description
    if description.format not in (None, "voc"):
        return None
    if folder is not None and voc.is_voc_folder(folder):
        return voc.split_images(folder, description.split)
    if Path(part).match("ImageSets/Main/*.txt"):
        path = find_path(part, description.search_folders, description.source)
        return voc.split_images(path.parents[2], path.stem)
    return None


def _from_images(images: Sequence[ListedImage], state: ReadingState) -> Iterator[UnreadSample]:
    form = state.description.format
    if form in ("paths", "classification"):
        return _with_classes_in_paths(images, state)
    if form is None:
        form = _guess_format(images, state)
        if form != state.description.likely:
            state.guesses[f"the labels are {LABELS[form]}"] = None
    if form == "darknet" and state.classes.names is None:
        _take_names_beside(images, state)
    return _with_label_files(images, form, state)


def _has_class_folders(folder: Path, form: str | None) -> bool:
    if form is None:
        return class_folders.has_class_folders(folder)
    return form in ("folders", "classification")


def _guess_format(images: Sequence[ListedImage], state: ReadingState) -> str:
    """Look for label files of a hundred images from all over the list."""
    some = [image.path for image in images[:: max(1, len(images) // 100)]]
    folder = state.description.labels
    if darknet.has_labels(some, folder):
        return "darknet"
    return "voc" if voc.has_annotations(some, folder) else "darknet"


def _take_names_beside(images: Sequence[ListedImage], state: ReadingState) -> None:
    """Take the class names from a file beside the first image or its labels, if there is one."""
    image, labels = images[0].path, state.description.labels
    label = darknet.label_paths(image, state.label_rule, labels)[0]
    folders = dict.fromkeys((label.parent, image.parent, label.parent.parent))
    path = first_file([folder / name for folder in folders for name in NAMES_BESIDE])
    if path is not None:
        state.classes = Classes(read_names(path))
        state.guesses[f"the class names are those of {printable(str(path))}"] = None


def _with_label_files(
    images: Sequence[ListedImage], form: str, state: ReadingState
) -> Iterator[UnreadSample]:
    folder = state.description.labels
    difficult = _difficult_images(images, state)
    if form == "voc":
        state.classes.larger_set = voc.class_names()
    for index, image in enumerate(images):
        if form == "voc":
            paths = voc.annotation_paths(image.path, folder)
            read_boxes = partial(_voc_boxes, paths, image.path, state)
        else:
            paths = darknet.label_paths(image.path, state.label_rule, folder)
            if state.masks:
                paths = [*darknet.mask_paths(image.path, folder), *paths]
            hard = difficult[index] if difficult else None
            read_boxes = partial(_darknet_boxes, paths, image.path, hard, state)
        yield UnreadSample(image, read_boxes)


def _voc_boxes(
    paths: Sequence[Path],
    image: Path,
    state: ReadingState,
    size: tuple[int, int],
    problems: ProblemList,
) -> Sequence[AnnotatedBox]:
    return voc.read_boxes(paths, size, state.classes, problems, image)


def _darknet_boxes(
    paths: Sequence[Path],
    image: Path,
    difficult: Path | None,
    state: ReadingState,
    size: tuple[int, int],
    problems: ProblemList,
) -> Sequence[AnnotatedBox]:
    """Those of the label file, and as difficult those of the parallel list's label file."""
    boxes = darknet.read_boxes(paths, size, state.classes, problems, image, masks=state.masks)
    hard = darknet.label_paths(difficult, state.label_rule) if difficult else []
    if first_file(hard) is None:
        return boxes
    notes = ProblemList()
    more = darknet.read_boxes(hard, size, state.classes, notes, image)
    problems += [note for note in notes if note.kind not in NOTES]
    return [*boxes, *(box._replace(difficult=True) for box in more)]


def _difficult_images(images: Sequence[ListedImage], state: ReadingState) -> list[Path]:
    """The images of the list `difficult`, one for each of ours, in the same order."""
    description = state.description
    if description.difficult is None:
        return []

    def has_labels(path: Path) -> bool:  # the labels alone: no image is needed
        paths = darknet.label_paths(path, state.label_rule)
        return first_file(paths) is not None

    where = f"{description.source}: difficult"
    folders, near_list = description.search_folders, description.near_list
    hard = list_images(description.difficult, folders, where, near_list, has_labels)
    if len(hard) != len(images):
        what = f"{len(hard)} images for {len(images)}; one each, in the same order, expected"
        raise DataError(f"{where}: {what}")
    return [image.path for image in hard]


def _from_class_folders(folder: Path, state: ReadingState) -> Iterator[UnreadSample]:
    images = class_folders.images_in_class_folders(folder, state.classes, state.problems)
    for image, label in images:
        yield UnreadSample(image, label=label)


def _with_classes_in_paths(
    images: Sequence[ListedImage], state: ReadingState
) -> Iterator[UnreadSample]:
    names = state.classes.names
    if names is None:
        what = "classes in paths need the names that occur in them; give names"
        raise DataError(f"{state.description.source}: {what}")
    for image in images:
        label = class_folders.class_from_path(image, names, state.problems)
        yield UnreadSample(image, label=label)


def _from_coco(path: Path, state: ReadingState) -> Iterator[UnreadSample]:
    file = coco.read_json(path, state.classes.names, state.problems, masks=state.masks)
    if state.classes.names is None:
        state.classes = Classes(file.names)
    state.category_ids = state.category_ids or file.category_ids
    folder = coco.image_folder(path, file.images, state.description.search_folders)
    moved = MovedPaths(printable(str(path)), (path.parent, path.parent.parent, folder), is_file)
    for image in file.images:
        image_path = folder / image.file_name
        if not is_file(image_path):
            image_path = moved.find(image.file_name) or image_path
        listed = ListedImage(image_path, image.where)
        read_boxes = partial(_coco_boxes, file.boxes[image.image_id], image)
        yield UnreadSample(listed, read_boxes, image.image_id)
    moved.warn()


def _coco_boxes(
    boxes: Sequence[AnnotatedBox],
    image: coco.CocoImage,
    size: tuple[int, int],
    problems: ProblemList,
) -> Sequence[AnnotatedBox]:
    if image.size not in (size, (0, 0)):
        annotated, real = (f"{w} x {h}" for w, h in (image.size, size))
        problems.add("size disagrees", image.where, f"size {annotated}, the image has {real}")
    boxes = [_with_fitting_outline(box, size, problems) for box in boxes]
    if not boxes:
        problems.add("negative picture", image.where, "no annotation of this image")
    return boxes


def _with_fitting_outline(
    box: AnnotatedBox, size: tuple[int, int], problems: ProblemList
) -> AnnotatedBox:
    """Leave out runs of pixels of another image's size."""
    if box.outline is None or box.outline.size in (size, (0, 0)):
        return box
    theirs, real = (f"{w} x {h}" for w, h in (box.outline.size, size))
    problems.add("bad outline", box.where, f"runs of {theirs} pixels, the image has {real}")
    return box._replace(outline=None)
