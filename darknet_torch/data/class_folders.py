"""Pictures that belong to a class as a whole.

folders    a folder a class: photos/ant/1.jpg
paths      Darknet's way: the class is the name that occurs in the path, `n02109961/1.jpg`
"""

from collections.abc import Sequence
from pathlib import Path

from darknet_torch.data.classes import Classes
from darknet_torch.data.messages import shown
from darknet_torch.data.paths import Listed, is_picture
from darknet_torch.data.problems import Report
from darknet_torch.errors import DataError

__all__ = ["class_of", "in_class_folders", "is_tree"]


def is_tree(folder: Path) -> bool:
    """Whether the pictures lie in folders inside a folder, as classes do.

    The folders of `images` beside `labels` are splits.
    """
    if folder.name == "images" and (folder.parent / "labels").is_dir():
        return False
    inside = _inside(folder)
    return not any(is_picture(path) for path in folder.iterdir()) and any(
        is_picture(path) for each in inside for path in each.iterdir()
    )


def _inside(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def in_class_folders(folder: Path, classes: Classes, report: Report) -> list[tuple[Listed, int]]:
    """(picture, class) of every picture; raises DataError if there is no folder in it."""
    folders = _inside(folder)
    if not folders:
        raise DataError(f"{folder}: no folders in it; a folder a class wanted")
    found = []
    for each in folders:
        number = classes.number(each.name)
        if number is None:
            report.add("unknown class", str(each), f"{shown(each.name)} is not among the names")
            continue
        pictures = sorted(path for path in each.iterdir() if is_picture(path))
        found += [(Listed(path, str(path)), number) for path in pictures]
    return found


def class_of(listed: Listed, names: Sequence[str], report: Report) -> int | None:
    """The first class whose name occurs in the path, as Darknet's `fill_truth` looks for it."""
    path = str(listed.path)
    found = [number for number, name in enumerate(names) if name and name in path]
    if not found:
        report.add("no class", listed.where, f"none of the {len(names)} names occurs in {path}")
        return None
    if len(found) > 1:
        several = ", ".join(names[number] for number in found[:5])
        report.add("several classes", listed.where, f"{path} has {several} in it")
    return found[0]
