"""The class names that a caller or the description of a data set gives."""

import re
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from darknet_torch.data.classes import numbered
from darknet_torch.data.messages import shown
from darknet_torch.data.paths import find_path, folder_and_parents
from darknet_torch.data.safe_yaml import load_yaml
from darknet_torch.errors import DataError, warn
from darknet_torch.files import cfg_folder
from darknet_torch.parsing.c_numbers import atoi
from darknet_torch.parsing.parser import read_data, read_names
from darknet_torch.safety.text import printable

__all__ = [
    "ClassNames",
    "data_names",
    "path_value",
    "read_class_names",
    "to_names",
    "yaml_names",
]

ClassNames = str | PathLike[str] | Sequence[str]
"""A file of class names (see `read_class_names`), or the names themselves."""


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the class names in a file: one a line, or those of a description, .data or .yaml.

    Of a classifier's .data they are `names`, which people read, and not `labels`.

    Raises:
        CfgError: the file cannot be read.
        DataError: a description without names or with wrong ones, or a JSON.
    """
    where, ending = printable(str(path)), path.suffix.lower()
    names: tuple[str, ...] | None = None
    if ending == ".data":
        if "names" in (options := read_data(path)):
            folders = (Path(), *folder_and_parents(path.parent))
            names = read_names(_found(options["names"], folders, f"{where}: names"))
    elif ending in (".yaml", ".yml"):
        if (content := load_yaml(path)).get("names") is not None:
            names = yaml_names(content, (path.parent, Path()), where)
    elif ending != ".json":
        names = read_names(path)
    if names is None:
        raise DataError(f"{where}: has no class names; a text with one a line, .data or .yaml has")
    return names


def to_names(names: ClassNames, search_folders: Sequence[Path], where: str) -> tuple[str, ...]:
    """Return names as they are, or those of a file in the search folders or the package."""
    if not isinstance(names, str | PathLike):
        return tuple(map(str, names))
    return read_class_names(_found(fspath(names), search_folders, where))


def _found(name: str, search_folders: Sequence[Path], where: str) -> Path:
    return find_path(name, (*search_folders, cfg_folder()), where)


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def path_value(value: Any, where: str) -> str:
    """Return a value that should be a path; raise DataError that shows others."""
    if not isinstance(value, str) or not value.strip() or _CONTROL.search(value):
        raise DataError(f"{where}: {shown(value)}: a path expected")
    return value


def yaml_names(
    content: Mapping[str, Any], search_folders: Sequence[Path], where: str
) -> tuple[str, ...] | None:
    """Return the names in a YAML description: of `names`, else as many numbers as `nc` says."""
    value, count = content.get("names"), content.get("nc")
    if isinstance(value, dict):
        value = _mapped(value, where)
    if isinstance(value, list):
        names = tuple(_name(each, where) for each in value)
    elif value is not None:
        path = path_value(value, f"{where}: names")
        names = read_names(_found(path, search_folders, f"{where}: names"))
    else:
        return None if count is None else numbered(_count(count, where), where)
    _warn_of_count(count, names, f"{where}: nc")
    return names


def _warn_of_count(count: Any, names: Sequence[str], where: str) -> None:
    """Darknet takes the names of the list, whatever the number of classes beside it says."""
    if count is not None and count != len(names):
        warn(f"{where}: {shown(count)} classes, but {len(names)} names: the names count")


def _mapped(names: Mapping[Any, Any], where: str) -> list[Any]:
    """{0: "ant", 1: "bee"} -> ["ant", "bee"]."""
    names = {_number(key): name for key, name in names.items()}
    missing = next((number for number in range(len(names)) if number not in names), None)
    if missing is not None:
        raise DataError(f"{where}: names: class {missing} has no name; 0, 1, 2 ... expected")
    return [names[number] for number in range(len(names))]


def _number(key: Any) -> Any:
    """`"0": ant`, with quotes, is class 0 too."""
    return int(key) if isinstance(key, str) and re.fullmatch(r"[0-9]{1,9}", key) else key


def _name(value: Any, where: str) -> str:
    if isinstance(value, str | int | float):  # `- 747` and `- no` are what YAML makes of words
        return str(value)
    raise DataError(f"{where}: names: {shown(value)}: a name expected")


def _count(value: Any, where: str) -> int:
    if isinstance(value, int) and value > 0:
        return value
    raise DataError(f"{where}: nc: {shown(value)}: the number of classes expected")


def data_names(
    options: Mapping[str, str], search_folders: Sequence[Path], where: str
) -> tuple[str, ...] | None:
    """Return the names in Darknet's .data: those of its list, else numbers.

    Of classifiers, `labels` are what occurs in paths, and `names` what people read.
    """
    key = "labels" if "labels" in options else "names"
    given = options.get("classes")
    count = None if given is None else atoi(given)
    if key in options:
        names = read_names(_found(options[key], search_folders, f"{where}: {key}"))
        _warn_of_count(count, names, f"{where}: classes")
        return names
    if count is not None and count < 1:
        raise DataError(f"{where}: classes: {shown(given)}: the number of classes expected")
    return None if count is None else numbered(count, where)
