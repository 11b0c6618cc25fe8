"""What is to be read: from a YAML file, Darknet's .data, or the name of a list, folder or JSON.

Description = the parts of one split (folders, lists, globs, JSON files), where they are looked
for, the names of the classes, and what else the file tells
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import yaml

from darknet_torch.data.classes import numbered
from darknet_torch.data.messages import plain, shown
from darknet_torch.data.paths import find, with_parents
from darknet_torch.errors import DataError
from darknet_torch.files import cfg_folder, is_file
from darknet_torch.parsing.parser import read_data, read_names, read_text

__all__ = ["FORMATS", "Description", "describe", "load_yaml", "to_names"]

FORMATS = ("darknet", "voc", "coco", "folders", "paths", "classification")
"""Boxes as Darknet's text, VOC's XML or COCO's JSON; classes as folders or as names in paths, or
whichever of these two it is."""

SPLITS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}
KEYS = (
    *("root", "path", "train", "val", "valid", "test", "names", "nc", "format", "difficult"),
    *("labels", "annotations"),
)
IGNORED = ("download",)  # of YOLO users: a script, and nothing here runs one
MAX_YAML = 1 << 18  # the pure Python loader takes seconds for that

Names = str | PathLike[str] | Sequence[str]


@dataclass(frozen=True)
class Description:
    """One split of a data set.

    source: for messages; parts: of the split; places: where they and what they list are looked
    for; near_list: what a list names is looked for beside the list first (else last);
    labels: the folder of the label files, where no rule finds them; difficult: a list of pictures
    whose label files hold the difficult boxes.
    """

    source: str
    split: str
    parts: tuple[str, ...]
    places: tuple[Path, ...]
    format: str | None = None
    names: tuple[str, ...] | None = None
    labels: Path | None = None
    difficult: str | None = None
    near_list: bool = False


def describe(source: str | PathLike[str], split: str = "val") -> Description:
    """Say what a source means; raises DataError (of a .names file: CfgError) if that is nothing."""
    name = fspath(source)
    path = _known(name)
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(path, split)
    if path.suffix.lower() == ".data":
        return _from_data(path, split)
    places = (Path(), *with_parents(path.parent))
    return Description(plain(name), split, (str(path),), places)


def to_names(names: Names, places: Sequence[Path], where: str) -> tuple[str, ...]:
    """Names of classes as they are, or from a .names file: in these places or of the package."""
    if not isinstance(names, str | PathLike):
        return tuple(map(str, names))
    path = find(fspath(names), (*places, cfg_folder()), where)
    return read_names(path)


def load_yaml(path: Path) -> dict[str, Any]:
    """The content of a YAML file: a mapping, without aliases (a few of them can make gigabytes)."""
    text = read_text(path, MAX_YAML, DataError, "a YAML")
    try:
        content = yaml.load(text, _Loader)
    except DataError as error:
        raise DataError(f"{plain(str(path))}:{error}") from error
    except Exception as error:  # of odd dates, numbers and tags the loader raises nearly anything
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or type(error).__name__
        raise DataError(f"{plain(str(path))}{line}: no YAML: {shown(str(what))}") from error
    if not isinstance(content, dict):
        raise DataError(f"{plain(str(path))}: `key: value` lines wanted, such as `val: photos`")
    return content


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise DataError(f"{line}: an alias (*name); write out what it stands for")
        return super().compose_node(parent, index)


def _known(name: str) -> Path:
    """A path, or the name of a description that travels with the package.

    A folder does not hide the name: that of COCO is the root that `coco` looks for.
    """
    inside = cfg_folder() / "datasets" / f"{name.removesuffix('.yaml')}.yaml"
    return (
        inside if Path(name).name == name and not is_file(name) and is_file(inside) else Path(name)
    )


# ---- YAML


def _from_yaml(path: Path, split: str) -> Description:
    content, where = load_yaml(path), plain(str(path))
    _check_keys(content, where)
    root = _root(content, path)
    places = tuple(dict.fromkeys((path.parent, root, Path())))
    labels = _of_split(content.get("labels", content.get("annotations")), split, f"{where}: labels")
    parts = _parts(content, split, where)
    difficult = _of_split(content.get("difficult"), split, f"{where}: difficult")
    if difficult is not None and len(parts) > 1:
        raise DataError(f"{where}: difficult: goes with a single list, not with {len(parts)}")
    return Description(
        where,
        split,
        parts,
        places,
        format=_format(content.get("format"), where),
        names=_yaml_names(content, places, where),
        labels=find(labels, places, f"{where}: labels") if labels else None,
        difficult=difficult,
        near_list=True,
    )


def _check_keys(content: Mapping[Any, Any], where: str) -> None:
    for key in content:
        if key not in (*KEYS, *IGNORED):
            near = difflib.get_close_matches(shown(key), KEYS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(KEYS)}"
            raise DataError(f"{where}: {shown(key)}: unknown key; {hint}")


def _root(content: Mapping[str, Any], path: Path) -> Path:
    name = content.get("root", content.get("path"))
    if name is None:
        return path.parent
    places = (path.parent, Path())
    root = find(_path(name, f"{path}: root"), places, f"{path}: root")
    if not root.is_dir():
        raise DataError(f"{plain(str(path))}: root: {shown(name)}: a folder wanted, not a file")
    return root


def _path(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise DataError(f"{where}: {shown(value)}: a path wanted")
    return value


def _parts(content: Mapping[str, Any], split: str, where: str) -> tuple[str, ...]:
    keys = [key for key in _keys(split) if content.get(key) is not None]
    if not keys:
        there = [key for keys in SPLITS.values() for key in keys if key in content]
        raise DataError(f"{where}: no split {shown(split)}; it has {', '.join(there) or 'none'}")
    found = [content[key] for key in keys]
    values = [one for each in found for one in (each if isinstance(each, list) else [each])]
    if not values:
        raise DataError(f"{where}: {keys[0]}: an empty list")
    return tuple(_path(value, f"{where}: {keys[0]}") for value in values)


def _keys(split: str) -> tuple[str, ...]:
    if split == "all":
        return tuple(key for keys in SPLITS.values() for key in keys)
    return next((keys for keys in SPLITS.values() if split in keys), ())


def _format(value: Any, where: str) -> str | None:
    if value is None or (isinstance(value, str) and value in FORMATS):
        return value
    near = difflib.get_close_matches(shown(value), FORMATS, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise DataError(f"{where}: format: {shown(value)}: one of {', '.join(FORMATS)} wanted{hint}")


def _of_split(value: Any, split: str, where: str) -> str | None:
    """`labels: folder`, or `labels: {train: one, val: another}`."""
    if isinstance(value, dict):
        value = next((value[key] for key in _keys(split) if key in value), None)
    return None if value is None else _path(value, where)


def _yaml_names(
    content: Mapping[str, Any], places: Sequence[Path], where: str
) -> tuple[str, ...] | None:
    value, count = content.get("names"), content.get("nc")
    if isinstance(value, dict):
        value = _mapped(value, where)
    if isinstance(value, list):
        names = tuple(_name(each, where) for each in value)
    elif value is not None:
        names = to_names(_path(value, f"{where}: names"), places, f"{where}: names")
    else:
        return None if count is None else numbered(_count(count, where), where)
    if count is not None and count != len(names):
        raise DataError(f"{where}: nc: {shown(count)}, but there are {len(names)} names")
    return names


def _mapped(names: Mapping[Any, Any], where: str) -> list[Any]:
    """{0: "ant", 1: "bee"} -> ["ant", "bee"]."""
    missing = next((number for number in range(len(names)) if number not in names), None)
    if missing is not None:
        raise DataError(f"{where}: names: class {missing} has no name; 0, 1, 2 ... wanted")
    return [names[number] for number in range(len(names))]


def _name(value: Any, where: str) -> str:
    if isinstance(value, str | int | float):  # `- 747` and `- no` are what YAML makes of words
        return str(value)
    raise DataError(f"{where}: names: {shown(value)}: a name wanted")


def _count(value: Any, where: str) -> int:
    if isinstance(value, int) and value > 0:
        return value
    raise DataError(f"{where}: nc: {shown(value)}: the number of classes wanted")


# ---- .data


def _from_data(path: Path, split: str) -> Description:
    options, where = read_data(path), plain(str(path))
    places = (Path(), *with_parents(path.parent))
    return Description(
        where,
        split,
        _parts(options, split, where),
        places,
        format="paths" if "labels" in options else None,
        names=_data_names(options, places, where),
        difficult=options.get("difficult") if split in SPLITS["val"] else None,
    )


def _data_names(
    options: Mapping[str, str], places: Sequence[Path], where: str
) -> tuple[str, ...] | None:
    # of classifiers, `labels` are what occurs in paths, and `names` what people read
    key = "labels" if "labels" in options else "names"
    given = options.get("classes")
    count = int(given) if given and given.isascii() and given.isdigit() and len(given) < 9 else None
    if given is not None and count is None:
        raise DataError(f"{where}: classes: {shown(given)}: a number wanted")
    if key not in options:
        return None if count is None else numbered(count, where)
    names = to_names(options[key], places, f"{where}: {key}")
    if count is not None and count > len(names):
        raise DataError(f"{where}: {key}: {len(names)} names for classes={count}")
    return names if count is None else names[:count]
