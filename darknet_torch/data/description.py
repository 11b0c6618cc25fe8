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

from darknet_torch.data.class_names import data_names, path_value, yaml_names
from darknet_torch.data.messages import shown
from darknet_torch.data.paths import (
    exists,
    find_path,
    folder_and_parents,
    folders_in,
    is_folder,
    is_image,
)
from darknet_torch.data.safe_yaml import load_yaml
from darknet_torch.errors import DataError, warn
from darknet_torch.files import cfg_folder, is_file
from darknet_torch.parsing.parser import read_data
from darknet_torch.safety.text import printable

__all__ = ["LABEL_FORMATS", "Description", "describe", "split_folders"]

LABEL_FORMATS = ("darknet", "voc", "coco", "folders", "paths", "classification")
"""Boxes in Darknet's text, VOC's XML or COCO's JSON; classes of whole images by folders, by names
in paths, or by whichever of these two it is."""

SPLIT_KEYS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
"""Split -> the keys of descriptions, and the names of folders, that mean it."""
NO_SPLITS = ("annotations", "images", "labels")
"""Folders beside those of splits."""
YAML_KEYS = (
    *("root", "path", "train", "val", "valid", "test", "names", "nc", "format", "difficult"),
    *("labels", "annotations"),
)
"""All other keys say nothing about the data, such as `roboflow`, or `download`: nothing is run."""
IN_FOLDERS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
"""The description of a folder that has no images itself; else its only .data file."""


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
        likely: the format that is no guess where it is found: that of a .data file.
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
    likely: str | None = None


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
    path = _inside(path) or path
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(path, split)
    if path.suffix.lower() == ".data":
        return _from_data(path, split)
    if is_folder(path):
        split_folders(path, split)  # an error where it has others only
    search_folders = (Path(), *folder_and_parents(path.parent))
    return Description(printable(name), split, (str(path),), search_folders)


def split_names(split: str) -> tuple[str, ...]:
    """Return the words that mean a split: "val" is also called "valid" and "validation"."""
    if split == "all":
        return tuple(name for names in SPLIT_KEYS.values() for name in names)
    return next((names for names in SPLIT_KEYS.values() if split in names), (split,))


def split_folders(folder: Path, split: str) -> list[Path]:
    """Return the folders in which the images of a split are: images/val, val ...

    There are several for "all". It is the folder itself if that has images, and it or its `images`
    if it has no folders of splits: then it is all of every split.

    Raises:
        DataError: it has folders of other splits only.
    """
    if _has_images(folder):
        return [folder]
    around = [each for each in (folder / "images", folder) if each.is_dir()]
    inside = [path for each in around for path in folders_in(each)]
    inside = [path for path in inside if path.name not in NO_SPLITS]
    chosen = [path for name in split_names(split) for path in inside if _is_of_split(path, name)]
    splits = [path for name in split_names("all") for path in inside if _is_of_split(path, name)]
    if inside and not chosen and len(splits) == len(inside):
        has = ", ".join(path.name for path in splits)
        raise DataError(f"{printable(str(folder))}: no split {shown(split)}; it has {has}")
    chosen = (chosen if split == "all" else chosen[:1]) or around[:1]
    return [each / "images" if (each / "images").is_dir() else each for each in chosen]


def _has_images(folder: Path) -> bool:
    return any(is_image(path) for path in folder.iterdir())


def _is_of_split(folder: Path, name: str) -> bool:
    return re.fullmatch(rf"{re.escape(name)}\d*", folder.name) is not None  # val2017


def _inside(folder: Path) -> Path | None:
    """Return the description in a folder that has no images of its own."""
    if not is_folder(folder) or _has_images(folder):
        return None
    named = next((folder / name for name in IN_FOLDERS if is_file(folder / name)), None)
    if named is None:
        several = [path for path in folder.glob("*.data") if is_file(path)]
        named = several[0] if len(several) == 1 else None
    return named


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
    _warn_of_misspelt_keys(content, where)
    parts = _parts(content, split, where)
    root = _root(content, path, parts)
    search_folders = tuple(dict.fromkeys((path.parent, root, Path())))
    labels = _of_split(content.get("labels", content.get("annotations")), split, f"{where}: labels")
    difficult = _of_split(content.get("difficult"), split, f"{where}: difficult")
    if difficult is not None and len(parts) > 1:
        raise DataError(f"{where}: difficult: goes with a single list, not with {len(parts)}")
    return Description(
        where,
        split,
        parts,
        search_folders,
        format=_format(content.get("format"), where),
        names=yaml_names(content, search_folders, where),
        labels=find_path(labels, search_folders, f"{where}: labels") if labels else None,
        difficult=difficult,
        near_list=True,
    )


def _warn_of_misspelt_keys(content: Mapping[Any, Any], where: str) -> None:
    for key in content:
        near = difflib.get_close_matches(shown(key), YAML_KEYS, 1, cutoff=0.75)
        if near and near[0] not in content:
            warn(f"{where}: {shown(key)}: unknown key, passed over; did you mean {near[0]}?")


def _root(content: Mapping[str, Any], path: Path, parts: Sequence[str]) -> Path:
    name = content.get("root", content.get("path"))
    if name is None:
        return path.parent
    search_folders = (path.parent, Path())
    try:
        root = find_path(path_value(name, f"{path}: root"), search_folders, f"{path}: root")
    except DataError:
        if not all(exists(path.parent / part) for part in parts):
            raise
        warn(f"{path}: root: {shown(name)}: not there; the folder of this file is taken")
        return path.parent
    if not root.is_dir():
        raise DataError(
            f"{printable(str(path))}: root: {shown(name)}: a folder expected, not a file"
        )
    return root


def _parts(content: Mapping[str, Any], split: str, where: str) -> tuple[str, ...]:
    keys = [key for key in split_names(split) if content.get(key) is not None]
    if not keys:
        present = [key for keys in SPLIT_KEYS.values() for key in keys if key in content]
        raise DataError(f"{where}: no split {shown(split)}; it has {', '.join(present) or 'none'}")
    given = [content[key] for key in keys]
    values = [one for each in given for one in (each if isinstance(each, list) else [each])]
    if not values:
        raise DataError(f"{where}: {keys[0]}: an empty list")
    return tuple(path_value(value, f"{where}: {keys[0]}") for value in values)


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
        value = next((value[key] for key in split_names(split) if key in value), None)
    return None if value is None else path_value(value, where)


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
        names=data_names(options, search_folders, where),
        difficult=options.get("difficult") if split in SPLIT_KEYS["val"] else None,
        likely="darknet",
    )
