"""A data set in another format: labels, lists, names, and a data.yaml that reads it all back.

    darknet   val/a.jpg val/a.txt ..., val.txt, data.names, data.data; difficult boxes, which are no
              labels for Darknet, in val_difficult/a.txt with the parallel list val_difficult.txt
    voc       JPEGImages/a.jpg Annotations/a.xml ..., ImageSets/Main/val.txt
    coco      val/a.jpg ..., annotations/instances_val.json

What lists say counts from the folder itself: it can be moved, and Darknet is run inside it.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from darknet_torch.data import coco, voc
from darknet_torch.data.darknet import write_rows
from darknet_torch.data.dataset import Dataset, Sample
from darknet_torch.data.description import load_yaml
from darknet_torch.data.messages import plain, shown
from darknet_torch.errors import DataError, UsageError
from darknet_torch.files import atomic, write_atomically

__all__ = ["COPIES", "WRITTEN", "convert"]

WRITTEN = ("darknet", "voc", "coco")
COPIES = ("link", "copy", "none")
SPLITS = ("train", "val", "test")


class Placed(NamedTuple):
    """A sample with the name that its files have, and what lists call its picture."""

    sample: Sample
    stem: str
    picture: str


def convert(
    dataset: Dataset,
    folder: str | PathLike[str],
    *,
    format: str = "darknet",  # noqa: A002 (as in `read`)
    copy: str = "link",
    split: str = "val",
) -> Path:
    """Write a data set as one split of a folder; return the path of its data.yaml.

    format: darknet, voc or coco. copy: what becomes of the pictures: "link" makes symbolic links,
    "copy" copies, "none" leaves them where they are (only the data.yaml then finds both).
    split: train, val or test; another split that the folder has already stays.
    Boxes are written as they stand, to the precision of the format: Darknet's rows have ten digits,
    VOC's corners are whole pixels. Crowds become difficult where there are none.

    Raises DataError: blank names (or equal ones, but for Darknet), classes of whole pictures, other
    classes than the folder has, two pictures of one name that are neither linked nor copied, or
    pictures that lie in the place to write to.
    """
    _check(dataset, format, copy, split)
    folder = Path(folder)
    pictures = folder / ("JPEGImages" if format == "voc" else split)
    placed = _placed(dataset, pictures, folder, copy)
    if copy == "none" and format != "coco":
        _check_names(placed)
    names = [plain(name) for name in dataset.names]
    content = _joined(folder, {"format": format, "names": names, split: ""})
    try:
        if copy != "none":
            pictures.mkdir(parents=True, exist_ok=True)
            _each(placed, lambda each: _put(each.sample.path, folder / each.picture, copy))
        told = _WRITERS[format](dataset, placed, folder, split, copy)
        for key, value in told.items():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
        if format == "darknet":
            _write_data(folder, content)
        _write(folder / "data.yaml", yaml.safe_dump(content, sort_keys=False))
    except OSError as error:
        raise DataError(f"{plain(str(folder))}: cannot be written: {error.strerror}") from error
    return folder / "data.yaml"


def _check(dataset: Dataset, form: str, copy: str, split: str) -> None:
    wanted = {"format": (form, WRITTEN), "copy": (copy, COPIES), "split": (split, SPLITS)}
    for name, (given, known) in wanted.items():
        if given not in known:
            raise UsageError(f"{name}={shown(given)}: one of {', '.join(known)} wanted")
    if any(sample.label is not None for sample in dataset.samples):
        raise DataError(f"{dataset.source}: classes of whole pictures; boxes wanted")
    _check_classes(dataset, unique=form != "darknet")


def _check_classes(dataset: Dataset, unique: bool) -> None:
    """Darknet's labels have numbers; the other two formats tell classes by their names."""
    seen: set[str] = set()
    for number, name in enumerate(dataset.names):
        where = f"{dataset.source}: class {number}: {shown(name)}"
        if not name or name != name.strip():
            raise DataError(f"{where}: a name without blanks around it wanted")
        if unique and name in seen:
            raise DataError(f"{where}: is the name of another class too")
        seen.add(name)


# ---- names and pictures


def _placed(dataset: Dataset, pictures: Path, folder: Path, copy: str) -> list[Placed]:
    here = Path(os.path.abspath(pictures))  # noqa: PTH100 (`resolve` would follow links)
    taken: set[str] = set()
    found = []
    for sample in dataset.samples:
        path = Path(os.path.abspath(sample.path))  # noqa: PTH100
        if path.parent == here:
            raise DataError(f"{plain(str(path))}: lies where to write; another folder wanted")
        stem = _free(_printable(path.stem), taken)
        name = str((pictures / f"{stem}{_printable(path.suffix)}").relative_to(folder))
        found.append(Placed(sample, stem, str(path) if copy == "none" else name))
    return found


def _check_names(placed: Sequence[Placed]) -> None:
    """Labels are found by the name of the picture, which stays as it is."""
    for each in placed:
        if each.stem != Path(each.picture).stem:
            what = "another picture has that name; link or copy them"
            raise DataError(f"{plain(each.picture)}: {what}")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "_" for c in text).strip()


def _free(stem: str, taken: set[str]) -> str:
    """a, a-2, a-3 ...; capitals are no difference, as on many disks."""
    name, number = stem, 1
    while name.lower() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name.lower())
    return name


def _put(source: Path, target: Path, copy: str) -> None:
    if copy == "copy":
        target.unlink(missing_ok=True)  # else the mode of what a link names would be taken
        with source.open("rb") as file, atomic(target) as out:
            shutil.copyfileobj(file, out)
        return
    new = target.with_name(f".{target.name[:80]}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(source.resolve())
    new.replace(target)


# ---- one function a format: writes, and returns what belongs into data.yaml


def _darknet(
    dataset: Dataset, placed: Sequence[Placed], folder: Path, split: str, copy: str
) -> dict[str, Any]:
    told: dict[str, Any] = {split: f"{split}.txt"}
    hard = f"{split}_difficult"
    any_hard = any((each.sample.truth.difficult | each.sample.truth.crowd).any() for each in placed)

    def write(each: Placed) -> None:
        sample, name = each.sample, f"{each.stem}.txt"
        difficult = sample.truth.difficult | sample.truth.crowd
        size = sample.width, sample.height
        _write(folder / split / name, write_rows(sample.truth[~difficult], *size))
        if any_hard:
            _write(folder / hard / name, write_rows(sample.truth[difficult], *size))

    _each(placed, write)
    _write(folder / f"{split}.txt", "".join(f"{each.picture}\n" for each in placed))
    if any_hard:
        lines = (f"{hard}/{each.stem}{Path(each.picture).suffix}\n" for each in placed)
        _write(folder / f"{hard}.txt", "".join(lines))
        told["difficult"] = {split: f"{hard}.txt"}
    return told | ({"labels": {split: split}} if copy == "none" else {})


def _write_data(folder: Path, content: Mapping[str, Any]) -> None:
    """Darknet's own description, with the names that it reads."""
    _write(folder / "data.names", "".join(f"{name}\n" for name in content["names"]))
    options = {"classes": str(len(content["names"]))}
    options |= {key: content[key] for key in ("train", "test") if key in content}
    options |= {"valid": content["val"]} if "val" in content else {}
    difficult = content.get("difficult", {})
    options |= {"difficult": difficult["val"]} if "val" in difficult else {}
    options |= {"names": "data.names", "backup": "backup"}
    _write(folder / "data.data", "".join(f"{key} = {value}\n" for key, value in options.items()))


def _voc(
    dataset: Dataset, placed: Sequence[Placed], folder: Path, split: str, copy: str
) -> dict[str, Any]:

    def write(each: Placed) -> None:
        sample, picture = each.sample, Path(each.picture).name
        size = sample.width, sample.height
        text = voc.write_xml(sample.truth, dataset.names, picture, *size)
        _write(folder / "Annotations" / f"{each.stem}.xml", text)

    _each(placed, write)
    if copy == "none":
        _write(folder / f"{split}.txt", "".join(f"{each.picture}\n" for each in placed))
        return {split: f"{split}.txt", "annotations": "Annotations"}
    listed = f"ImageSets/Main/{split}.txt"
    _write(folder / listed, "".join(f"{each.stem}\n" for each in placed))
    return {split: listed}


def _coco(
    dataset: Dataset, placed: Sequence[Placed], folder: Path, split: str, copy: str
) -> dict[str, Any]:
    listed = f"annotations/instances_{split}.json"
    (folder / listed).parent.mkdir(parents=True, exist_ok=True)
    files = [each.picture if copy == "none" else Path(each.picture).name for each in placed]
    coco.write_json(folder / listed, dataset, files)
    return {split: listed}


_WRITERS = {"darknet": _darknet, "voc": _voc, "coco": _coco}


def _joined(folder: Path, ours: dict[str, Any]) -> dict[str, Any]:
    """With what data.yaml says of other splits; they must have the same classes and format."""
    path = folder / "data.yaml"
    if not path.is_file():
        return ours
    old = load_yaml(path)
    for key in ("format", "names"):
        if old.get(key) != ours[key]:
            what = f"{key}: another than what is to be written; another folder wanted"
            raise DataError(f"{plain(str(path))}: {what}")
    return old | ours


def _each(placed: Sequence[Placed], work: Callable[[Placed], None]) -> None:
    """In threads: most of the time a disk is waited for."""
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(work, placed):
            pass


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # the bytes of a path that is no UTF-8 come back as they were
    write_atomically(path, text.encode("utf-8", "surrogateescape"))
