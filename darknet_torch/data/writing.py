"""`convert`: write a data set in another format, with a data.yaml that reads it all back.

    darknet   val/a.jpg val/a.txt ..., val.txt, data.names, data.data; difficult boxes, which are no
              labels for Darknet, in val_difficult/a.txt with the parallel list val_difficult.txt
    voc       JPEGImages/a.jpg Annotations/a.xml ..., ImageSets/Main/val.txt; what another split of
              the folder has a name for is a-2 here
    coco      val/a.jpg ..., annotations/instances_val.json

Paths in lists are relative to the folder: it can be moved, and Darknet is run inside it.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from darknet_torch.data import voc
from darknet_torch.data.coco_writing import write_json
from darknet_torch.data.darknet import to_label_rows
from darknet_torch.data.dataset import Dataset, Sample
from darknet_torch.data.messages import shown
from darknet_torch.data.safe_yaml import load_yaml
from darknet_torch.errors import DataError, UsageError
from darknet_torch.files import atomic, read_bytes, write_atomically
from darknet_torch.safety.text import printable
from darknet_torch.safety.threads import Pool

__all__ = ["COPY_MODES", "TARGET_FORMATS", "convert"]

TARGET_FORMATS = ("darknet", "voc", "coco")
COPY_MODES = ("link", "copy", "none")
SPLITS = ("train", "val", "test")
_LARGEST_LIST = 1 << 28


class OutputSample(NamedTuple):
    """A sample with the stem of its files' names, and the path of its image in lists."""

    sample: Sample
    stem: str
    image: str


def convert(
    dataset: Dataset,
    folder: str | PathLike[str],
    *,
    format: str = "darknet",  # noqa: A002 (as in `read`)
    copy: str = "link",
    split: str = "val",
) -> Path:
    """Write a data set as one split of a folder.

    Boxes are written as they are, to the precision of the format: Darknet's rows have ten digits,
    VOC's corners are whole pixels. Crowds become difficult in formats without crowds.

    Args:
        dataset: with boxes, not classes of whole images.
        folder: to write to; another split that it has already stays.
        format: darknet, voc or coco.
        copy: what becomes of the images: "link" makes symbolic links, "copy" copies, "none" leaves
            them where they are (then only the data.yaml finds images and labels).
        split: train, val or test.

    Returns:
        The path of the folder's data.yaml.

    Raises:
        DataError: blank names (or equal ones, but for Darknet), classes of whole images, other
            classes than the folder has, two images of one name with "none" (in VOC's layout in two
            splits, too), images that lie in the folder to write to, or a file that cannot be
            written.
        UsageError: an argument has an unknown value.
    """
    _check(dataset, format, copy, split)
    folder = Path(folder)
    images = folder / ("JPEGImages" if format == "voc" else split)
    taken = _names_of_other_splits(folder, split) if format == "voc" else {}
    outputs = _outputs(dataset, images, folder, copy, taken)
    if copy == "none" and format != "coco":
        _check_names(outputs)
    names = [printable(name) for name in dataset.names]
    content = _merged(folder, {"format": format, "names": names, split: ""})
    try:
        if copy != "none":
            images.mkdir(parents=True, exist_ok=True)
            _run_in_threads(outputs, lambda each: _put(each.sample.path, folder / each.image, copy))
        options = _WRITERS[format](dataset, outputs, folder, split, copy)
        for key, value in options.items():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
        if format == "darknet":
            _write_data(folder, content)
        _write(folder / "data.yaml", yaml.safe_dump(content, sort_keys=False))
    except OSError as error:
        raise DataError(f"{printable(str(folder))}: cannot be written: {error.strerror}") from error
    return folder / "data.yaml"


def _check(dataset: Dataset, form: str, copy: str, split: str) -> None:
    choices = {
        "format": (form, TARGET_FORMATS),
        "copy": (copy, COPY_MODES),
        "split": (split, SPLITS),
    }
    for name, (given, known) in choices.items():
        if given not in known:
            raise UsageError(f"{name}={shown(given)}: one of {', '.join(known)} expected")
    if dataset.samples and all(sample.label is not None for sample in dataset.samples):
        raise DataError(f"{dataset.source}: classes of whole images; boxes expected")
    _check_classes(dataset, unique=form != "darknet")


def _check_classes(dataset: Dataset, unique: bool) -> None:
    """Darknet's labels have numbers; in the other two formats names tell classes apart."""
    seen: set[str] = set()
    for number, name in enumerate(dataset.names):
        where = f"{dataset.source}: class {number}: {shown(name)}"
        if not name or name != name.strip():
            raise DataError(f"{where}: a name without blanks around it expected")
        if unique and name in seen:
            raise DataError(f"{where}: is the name of another class too")
        seen.add(name)


# ---- names and images


def _names_of_other_splits(folder: Path, split: str) -> dict[str, int]:
    """VOC's images and annotations of all splits lie in the same folders: names as of `_free`."""
    names: list[str] = []
    for other in (each for each in SPLITS if each != split):
        names += _lines(folder / "ImageSets" / "Main" / f"{other}.txt")
        names += [Path(line).stem for line in _lines(folder / f"{other}.txt")]
    return dict.fromkeys(map(str.lower, names), 1)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    text = read_bytes(path, _LARGEST_LIST, DataError, "a list").decode("utf-8", "surrogateescape")
    return [line for line in text.split("\n") if line]


def _outputs(
    dataset: Dataset, images: Path, folder: Path, copy: str, taken: dict[str, int]
) -> list[OutputSample]:
    here = Path(os.path.abspath(images))  # noqa: PTH100 (`resolve` would follow links)
    outputs = []
    for sample in dataset.samples:
        path = Path(os.path.abspath(sample.path))  # noqa: PTH100
        if path.parent == here:
            what = "lies in the folder to write to; another folder expected"
            raise DataError(f"{printable(str(path))}: {what}")
        stem = _free(_printable(path.stem), taken)
        name = str((images / f"{stem}{_printable(path.suffix)}").relative_to(folder))
        outputs.append(OutputSample(sample, stem, str(path) if copy == "none" else name))
    return outputs


def _check_names(outputs: Sequence[OutputSample]) -> None:
    """Labels are found by the name of the image, which stays as it is."""
    for each in outputs:
        if each.stem != Path(each.image).stem:
            what = "another image has that name; link or copy them"
            raise DataError(f"{printable(each.image)}: {what}")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "_" for c in text).strip()


def _free(stem: str, taken: dict[str, int]) -> str:
    """a, a-2, a-3 ...; names that differ in capitals only are equal, as on many disks.

    taken: name -> the number that was reached for it, so that the next search begins there.
    """
    name, number = stem, taken.get(stem.lower(), 1)
    while name.lower() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken[name.lower()] = 1
    taken[stem.lower()] = number
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


# ---- one function for each format: writes, and returns the keys for data.yaml


def _darknet(
    dataset: Dataset, outputs: Sequence[OutputSample], folder: Path, split: str, copy: str
) -> dict[str, Any]:
    options: dict[str, Any] = {split: f"{split}.txt"}
    hard = f"{split}_difficult"
    ground_truths = [each.sample.ground_truth for each in outputs]
    has_difficult = any((each.difficult | each.crowd).any() for each in ground_truths)

    def write(each: OutputSample) -> None:
        sample, name = each.sample, f"{each.stem}.txt"
        difficult = sample.ground_truth.difficult | sample.ground_truth.crowd
        size = sample.width, sample.height
        _write(folder / split / name, to_label_rows(sample.ground_truth[~difficult], *size))
        if has_difficult:
            _write(folder / hard / name, to_label_rows(sample.ground_truth[difficult], *size))

    _run_in_threads(outputs, write)
    _write(folder / f"{split}.txt", "".join(f"{each.image}\n" for each in outputs))
    if has_difficult:
        lines = (f"{hard}/{each.stem}{Path(each.image).suffix}\n" for each in outputs)
        _write(folder / f"{hard}.txt", "".join(lines))
        options["difficult"] = {split: f"{hard}.txt"}
    return options | ({"labels": {split: split}} if copy == "none" else {})


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
    dataset: Dataset, outputs: Sequence[OutputSample], folder: Path, split: str, copy: str
) -> dict[str, Any]:

    def write(each: OutputSample) -> None:
        sample, image = each.sample, Path(each.image).name
        size = sample.width, sample.height
        text = voc.to_xml(sample.ground_truth, dataset.names, image, *size)
        _write(folder / "Annotations" / f"{each.stem}.xml", text)

    _run_in_threads(outputs, write)
    if copy == "none":
        _write(folder / f"{split}.txt", "".join(f"{each.image}\n" for each in outputs))
        return {split: f"{split}.txt", "annotations": "Annotations"}
    listed = f"ImageSets/Main/{split}.txt"
    _write(folder / listed, "".join(f"{each.stem}\n" for each in outputs))
    return {split: listed}


def _coco(
    dataset: Dataset, outputs: Sequence[OutputSample], folder: Path, split: str, copy: str
) -> dict[str, Any]:
    listed = f"annotations/instances_{split}.json"
    (folder / listed).parent.mkdir(parents=True, exist_ok=True)
    files = [each.image if copy == "none" else Path(each.image).name for each in outputs]
    write_json(folder / listed, dataset, files)
    return {split: listed}


_WRITERS = {"darknet": _darknet, "voc": _voc, "coco": _coco}


def _merged(folder: Path, ours: dict[str, Any]) -> dict[str, Any]:
    """Keep the data.yaml's other splits; they must have the same classes and format."""
    path = folder / "data.yaml"
    if not path.is_file():
        return ours
    old = load_yaml(path)
    for key in ("format", "names"):
        if old.get(key) != ours[key]:
            what = f"{key}: differs from the data set to write; another folder expected"
            raise DataError(f"{printable(str(path))}: {what}")
    return old | ours


def _run_in_threads(outputs: Sequence[OutputSample], work: Callable[[OutputSample], None]) -> None:
    """Most of the time is spent waiting for the disk."""
    with Pool(8) as pool:
        for _ in pool.map(work, outputs):
            pass


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # the bytes of a path that is no UTF-8 come back as they were
    write_atomically(path, text.encode("utf-8", "surrogateescape"))
