"""Descriptions of data sets: from a YAML file, Darknet's .data, or the path of images or a list.

A Description has the parts of one split (folders, lists, globs, JSON files), the folders in which
they are looked for, the names of the classes, and the other options of the file.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from darknet_torch.data.classes import numbered
from darknet_torch.data.messages import shown
from darknet_torch.data.paths import find_path, folder_and_parents
from darknet_torch.data.safe_yaml import load_yaml
from darknet_torch.errors import DataError
from darknet_torch.files import cfg_folder, is_file
from darknet_torch.parsing.parser import read_data, read_names
from darknet_torch.text import printable

__all__ = ["LABEL_FORMATS", "Description", "describe", "to_names"]

LABEL_FORMATS = ("darknet", "voc", "coco", "folders", "paths", "classification")
"""Boxes in Darknet's text, VOC's XML or COCO's JSON; classes of whole images by folders, by names
in paths, or by whichever of these two it is."""

SPLIT_KEYS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}
YAML_KEYS = (
    *("root", "path", "train", "val", "valid", "test", "names", "nc", "format", "difficult"),
    *("labels", "annotations"),
)
IGNORED_KEYS = ("download",)  # of YOLO users: a script, and nothing here runs one

ClassNames = str | PathLike[str] | Sequence[str]


@dataclass(frozen=True)
class Description:
    """One split of a data set.

    Attributes:
        source: for messages.
        split: its name.
        parts: folders, lists, globs, JSON files of the split.
        search_folders: where parts, and what lists name, are looked for, in order.
        format: one of LABEL_FORMATS; None: not given.
        names: of the classes; None: not given.
        labels: the folder of the label files, where no rule finds them.
        difficult: a list of images whose label files hold the difficult boxes.
        near_list: what a list names is looked for beside the list first, else last.
    """

    source: str
    split: str
    parts: tuple[str, ...]
    search_folders: tuple[Path, ...]
    format: str | None = None
    names: tuple[str, ...] | None = None
    labels: Path | None = None
    difficult: str | None = None
    near_list: bool = False


def describe(source: str | PathLike[str], split: str = "val") -> Description:
    """Return the description of a source.

    Args:
        source: a .yaml or .data file, the name of a description of the package, or the path of a
            list, folder, glob, image or JSON.
        split: train, val, test or all.

    Raises:
        DataError: no such file or split, or a file that cannot be understood.
        CfgError: the same of a .data or .names file.
    """
    name = fspath(source)
    path = _path_or_packaged(name)
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(path, split)
    if path.suffix.lower() == ".data":
        return _from_data(path, split)
    search_folders = (Path(), *folder_and_parents(path.parent))
    return Description(printable(name), split, (str(path),), search_folders)


def to_names(names: ClassNames, search_folders: Sequence[Path], where: str) -> tuple[str, ...]:
    """Return names as they are, or those of a .names file in the search folders or the package."""
    if not isinstance(names, str | PathLike):
        return tuple(map(str, names))
    path = find_path(fspath(names), (*search_folders, cfg_folder()), where)
    return read_names(path)


def _path_or_packaged(name: str) -> Path:
    """A path, or that of the package's own description of that name (coco, voc).

    A folder does not hide the name: `coco` is also the root that coco.yaml looks for.
    """
    inside = cfg_folder() / "datasets" / f"{name.removesuffix('.yaml')}.yaml"
    return (
        inside if Path(name).name == name and not is_file(name) and is_file(inside) else Path(name)
    )


# ---- YAML


def _from_yaml(path: Path, split: str) -> Description:
    content, where = load_yaml(path), printable(str(path))
    _check_keys(content, where)
    root = _root(content, path)
    search_folders = tuple(dict.fromkeys((path.parent, root, Path())))
    labels = _of_split(content.get("labels", content.get("annotations")), split, f"{where}: labels")
    parts = _parts(content, split, where)
    difficult = _of_split(content.get("difficult"), split, f"{where}: difficult")
    if difficult is not None and len(parts) > 1:
        raise DataError(f"{where}: difficult: goes with a single list, not with {len(parts)}")
    return Description(
        where,
        split,
        parts,
        search_folders,
        format=_format(content.get("format"), where),
        names=_yaml_names(content, search_folders, where),
        labels=find_path(labels, search_folders, f"{where}: labels") if labels else None,
        difficult=difficult,
        near_list=True,
    )


def _check_keys(content: Mapping[Any, Any], where: str) -> None:
    for key in content:
        if key not in (*YAML_KEYS, *IGNORED_KEYS):
            near = difflib.get_close_matches(shown(key), YAML_KEYS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(YAML_KEYS)}"
            raise DataError(f"{where}: {shown(key)}: unknown key; {hint}")


def _root(content: Mapping[str, Any], path: Path) -> Path:
    name = content.get("root", content.get("path"))
    if name is None:
        return path.parent
    search_folders = (path.parent, Path())
    root = find_path(_path(name, f"{path}: root"), search_folders, f"{path}: root")
    if not root.is_dir():
        raise DataError(
            f"{printable(str(path))}: root: {shown(name)}: a folder expected, not a file"
        )
    return root


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _path(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or _CONTROL.search(value):
        raise DataError(f"{where}: {shown(value)}: a path expected")
    return value


def _parts(content: Mapping[str, Any], split: str, where: str) -> tuple[str, ...]:
    keys = [key for key in _keys(split) if content.get(key) is not None]
    if not keys:
        present = [key for keys in SPLIT_KEYS.values() for key in keys if key in content]
        raise DataError(f"{where}: no split {shown(split)}; it has {', '.join(present) or 'none'}")
    given = [content[key] for key in keys]
    values = [one for each in given for one in (each if isinstance(each, list) else [each])]
    if not values:
        raise DataError(f"{where}: {keys[0]}: an empty list")
    return tuple(_path(value, f"{where}: {keys[0]}") for value in values)


def _keys(split: str) -> tuple[str, ...]:
    if split == "all":
        return tuple(key for keys in SPLIT_KEYS.values() for key in keys)
    return next((keys for keys in SPLIT_KEYS.values() if split in keys), ())


def _format(value: Any, where: str) -> str | None:
    if value is None or (isinstance(value, str) and value in LABEL_FORMATS):
        return value
    near = difflib.get_close_matches(shown(value), LABEL_FORMATS, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise DataError(
        f"{where}: format: {shown(value)}: one of {', '.join(LABEL_FORMATS)} expected{hint}"
    )


def _of_split(value: Any, split: str, where: str) -> str | None:
    """`labels: folder`, or `labels: {train: one, val: another}`."""
    if isinstance(value, dict):
        value = next((value[key] for key in _keys(split) if key in value), None)
    return None if value is None else _path(value, where)


def _yaml_names(
    content: Mapping[str, Any], search_folders: Sequence[Path], where: str
) -> tuple[str, ...] | None:
    value, count = content.get("names"), content.get("nc")
    if isinstance(value, dict):
        value = _mapped(value, where)
    if isinstance(value, list):
        names = tuple(_name(each, where) for each in value)
    elif value is not None:
        names = to_names(_path(value, f"{where}: names"), search_folders, f"{where}: names")
    else:
        return None if count is None else numbered(_count(count, where), where)
    if count is not None and count != len(names):
        raise DataError(f"{where}: nc: {shown(count)}, but there are {len(names)} names")
    return names


def _mapped(names: Mapping[Any, Any], where: str) -> list[Any]:
    """{0: "ant", 1: "bee"} -> ["ant", "bee"]."""
    missing = next((number for number in range(len(names)) if number not in names), None)
    if missing is not None:
        raise DataError(f"{where}: names: class {missing} has no name; 0, 1, 2 ... expected")
    return [names[number] for number in range(len(names))]


def _name(value: Any, where: str) -> str:
    if isinstance(value, str | int | float):  # `- 747` and `- no` are what YAML makes of words
        return str(value)
    raise DataError(f"{where}: names: {shown(value)}: a name expected")


def _count(value: Any, where: str) -> int:
    if isinstance(value, int) and value > 0:
        return value
    raise DataError(f"{where}: nc: {shown(value)}: the number of classes expected")


# ---- .data


def _from_data(path: Path, split: str) -> Description:
    options, where = read_data(path), printable(str(path))
    search_folders = (Path(), *folder_and_parents(path.parent))
    return Description(
        where,
        split,
        _parts(options, split, where),
        search_folders,
        format="paths" if "labels" in options else None,
        names=_data_names(options, search_folders, where),
        difficult=options.get("difficult") if split in SPLIT_KEYS["val"] else None,
    )


def _data_names(
    options: Mapping[str, str], search_folders: Sequence[Path], where: str
) -> tuple[str, ...] | None:
    # of classifiers, `labels` are what occurs in paths, and `names` what people read
    key = "labels" if "labels" in options else "names"
    given = options.get("classes")
    count = int(given) if given and given.isascii() and given.isdigit() and len(given) < 9 else None
    if given is not None and count is None:
        raise DataError(f"{where}: classes: {shown(given)}: a number expected")
    if key not in options:
        return None if count is None else numbered(count, where)
    names = to_names(options[key], search_folders, f"{where}: {key}")
    if count is not None and count > len(names):
        raise DataError(f"{where}: {key}: {len(names)} names for classes={count}")
    return names if count is None else names[:count]
