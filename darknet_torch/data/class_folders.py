"""Images that belong to one class as a whole.

folders    a folder for each class: photos/ant/1.jpg
paths      Darknet's way: the class is the name that occurs in the path, `n02109961/1.jpg`
"""

from collections.abc import Sequence
from pathlib import Path

from darknet_torch.data.classes import Classes
from darknet_torch.data.messages import shown
from darknet_torch.data.paths import ListedImage, folders_in, is_image
from darknet_torch.data.problems import ProblemList
from darknet_torch.errors import DataError
from darknet_torch.safety.text import printable

__all__ = ["class_from_path", "has_class_folders", "images_in_class_folders"]


def has_class_folders(folder: Path) -> bool:
    """Return whether the images of a folder lie in folders inside it, as those of classes do.

    The folders of `images` beside `labels` are splits.
    """
    if folder.name == "images" and (folder.parent / "labels").is_dir():
        return False
    inside = folders_in(folder)
    return not any(is_image(path) for path in folder.iterdir()) and any(
        is_image(path) for each in inside for path in each.iterdir()
    )


def images_in_class_folders(
    folder: Path, classes: Classes, problems: ProblemList
) -> list[tuple[ListedImage, int]]:
    """Return (image, class index) of every image; raise DataError without any class folder.

    A folder whose name is no class is appended to the problems.
    """
    folders = folders_in(folder)
    if not folders:
        raise DataError(f"{folder}: no folders in it; a folder for each class expected")
    images = []
    for each in folders:
        class_id = classes.class_id(each.name)
        if class_id is None:
            problems.add("unknown class", str(each), f"{shown(each.name)} is not among the names")
            continue
        paths = sorted(path for path in each.iterdir() if is_image(path))
        images += [(ListedImage(path, str(path)), class_id) for path in paths]
    return images


def class_from_path(image: ListedImage, names: Sequence[str], problems: ProblemList) -> int | None:
    """Return the first class whose name occurs in the path, as Darknet's `fill_truth` does."""
    path = printable(str(image.path))  # as names are
    found = [number for number, name in enumerate(names) if name and name in path]
    if not found:
        problems.add("no class", image.where, f"none of the {len(names)} names occurs in {path}")
        return None
    if len(found) > 1:
        several = ", ".join(names[number] for number in found[:5])
        problems.add("several classes", image.where, f"{path} has {several} in it")
    return found[0]
