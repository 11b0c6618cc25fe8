"""Damaged data sets for tools/fuzz.py: labels, XML, JSON, YAML, .data, names, lists.

A case is a small data set of one format on the disk, with one of its text files damaged: bytes,
words, lines, or values of the JSON. It is read, counted, and sometimes converted and read again.
"""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from darknet_torch.data import KINDS, Dataset, convert, read, statistics
from darknet_torch.errors import DarknetError

IMAGES = ("images/a.png", "images/b.png", "images/c.png")
SIZE = 32, 24
VOC = "VOC/ImageSets/Main/val.txt"
XML = """<annotation>
  <filename>{name}.png</filename>
  <size><width>32</width><height>24</height><depth>3</depth></size>
  <object><name>ant</name><difficult>0</difficult><truncated>1</truncated>
    <bndbox><xmin>3</xmin><ymin>4</ymin><xmax>20</xmax><ymax>11</ymax></bndbox></object>
  <object><name>bee</name><difficult>1</difficult>
    <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>32</xmax><ymax>24</ymax></bndbox></object>
</annotation>
"""
COCO: dict[str, Any] = {
    "images": [
        {"id": 5 + i, "file_name": name, "width": 32, "height": 24} for i, name in enumerate(IMAGES)
    ],
    "categories": [{"id": 3, "name": "ant"}, {"id": 1, "name": "bee"}],
    "annotations": [
        {"id": 1, "image_id": 5, "category_id": 3, "bbox": [1, 2, 3.5, 4], "area": 9, "iscrowd": 0},
        {"id": 2, "image_id": 6, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 1},
    ],
}
FILES: dict[str, str] = {
    "labels/a.txt": "0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.2 0.2\n",
    "labels/b.txt": "1 0.5 0.25 1 0.5\n",
    "labels/c.txt": "",
    "hard/a.txt": "0 0.75 0.75 0.25 0.25\n",
    "list.txt": "".join(f"{name}\n" for name in IMAGES),
    "hard.txt": "hard/a.png\nhard/b.png\nhard/c.png\n",
    "my.names": "ant\nbee\n",
    "my.data": "classes=2\nvalid = list.txt\nnames = my.names\ndifficult = hard.txt\n",
    "my.yaml": "root: .\nval: [images]\nnames: {0: ant, 1: bee}\nformat: darknet\n",
    "voc.yaml": "val: VOC/ImageSets/Main/val.txt\nnames: [ant, bee]\n",
    VOC: "a\nb\n",
    "VOC/Annotations/a.xml": XML.format(name="a"),
    "VOC/Annotations/b.xml": XML.format(name="b"),
    "coco.json": json.dumps(COCO),
    "coco.yaml": "val: coco.json\nnames: my.names\n",
}
SOURCES: dict[str, tuple[str, ...]] = {
    "my.data": ("my.data", "list.txt", "hard.txt", "my.names", "labels/a.txt", "hard/a.txt"),
    "my.yaml": ("my.yaml", "list.txt", "labels/a.txt", "labels/b.txt"),
    "list.txt": ("list.txt", "labels/a.txt", "labels/c.txt"),
    "voc.yaml": ("voc.yaml", VOC, "VOC/Annotations/a.xml"),
    "VOC": (VOC, "VOC/Annotations/a.xml", "VOC/Annotations/b.xml"),
    "coco.json": ("coco.json",),
    "coco.yaml": ("coco.json", "coco.yaml", "my.names"),
}
"""Source -> the files that it reads, any of which may be damaged."""

WORDS = (
    "0 1 -1 2 0.5 1.0 1e308 -1e308 1e-320 nan inf -inf 0x10 1_0 999999999999999999999 ant bee wasp"
    " null true [] {} '' \" - : , < > & &amp; &lol; <!DOCTYPE &a *a << !!python/object:os.system"
    " !!binary !!float 2001-99-99 1:2:3 ~ .. / . // * ** [a] ? images a.png difficult train val"
    " root names \ufeff \u0663 \udcff"
).split(" ")
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 5, 10**30, -(10**400), 0.5, float("nan"), float("inf")),
    *("", "x", "\ud800", "a\nb", "\0", "images/a.png", [], {}, [1, 2], {"id": 1}, [[[]]]),
)


class Case(NamedTuple):
    """A source, which of its files is damaged, and what then stands in it."""

    source: str
    file: str
    content: bytes


def make(rng: random.Random) -> Case:
    """A case, by the random numbers alone."""
    source = rng.choice(tuple(SOURCES))
    file = rng.choice(SOURCES[source])
    content = FILES[file].encode()
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        content = rng.choice(DAMAGES)(content, rng)
    return Case(source, file, content)


# ---- damages


def in_bytes(content: bytes, rng: random.Random) -> bytes:
    """Bytes are changed, lost, doubled, or come from nowhere."""
    place = rng.randint(0, len(content))
    some = rng.choice((1, 1, 2, 5, 20))
    new = rng.choice((rng.randbytes(some), b"\0", b"\n", b"\xff", content[place : place + some]))
    return content[:place] + new + content[place + rng.choice((0, some)) :]


def in_words(content: bytes, rng: random.Random) -> bytes:
    """A number or a word becomes another, or goes away."""
    words = list(re.finditer(rb"[\w.+-]+|[^\w\s]", content))
    if not words:
        return rng.choice(WORDS).encode("utf-8", "surrogatepass")
    match = rng.choice(words)
    new = b"" if rng.random() < 0.1 else rng.choice(WORDS).encode("utf-8", "surrogatepass")
    return content[: match.start()] + new + content[match.end() :]


def in_lines(content: bytes, rng: random.Random) -> bytes:
    """Lines are doubled, removed, or swapped."""
    lines = content.split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        lines.insert(first, lines[second])
    elif kind == 1:
        del lines[first]
    else:
        lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


def in_bulk(content: bytes, rng: random.Random) -> bytes:
    """Cut off, repeated, deep, or something else altogether."""
    if rng.random() < 0.3:
        return content[: rng.randint(0, len(content))]
    count = rng.choice((2, 50, 3000))
    deep = rng.choice((b"[", b'{"a":', b"<a>", b"- ", b"a: {", b"&a [*a, "))
    heads = (b"", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"\xff\xfe", b"<?xml version='1.0'")
    return rng.choice((content * 2, deep * count, rng.choice(heads) + content, content[::-1]))


def in_values(content: bytes, rng: random.Random) -> bytes:
    """Of a JSON one value becomes another; of all else a word."""
    try:
        root = json.loads(content)
    except (ValueError, RecursionError):
        return in_words(content, rng)
    if not isinstance(root, dict | list) or not root:
        return json.dumps(rng.choice(VALUES)).encode()
    node: Any = root
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not isinstance(node[key], dict | list) or not node[key] or rng.random() < 0.2:
            break
        node = node[key]
    if rng.random() < 0.2:
        del node[key]
    else:
        node[key] = rng.choice(VALUES)
    return json.dumps(root).encode()


Damage = Callable[[bytes, random.Random], bytes]
DAMAGES: tuple[Damage, ...] = (in_bytes, in_words, in_words, in_lines, in_bulk, in_values)


# ---- one case


def lay_out(folder: Path) -> None:
    """Write the data sets with nothing wrong in them."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name in IMAGES:
        for path in (folder / name, folder / "VOC" / "JPEGImages" / Path(name).name):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", SIZE, 99).save(path)


def run(case: Case, rng: random.Random, folder: Path) -> str:
    """Read the damaged data set; return how far it came. Only DarknetErrors are caught."""
    root = folder / "data"
    if not root.is_dir():
        lay_out(root)
    (root / case.file).write_bytes(case.content)
    names = rng.choice((None, None, ["ant", "bee"], str(root / "my.names")))
    rule, strict = rng.choice((None, None, "pjreddie", "alexeyab")), rng.random() < 0.1
    source = root / case.source
    try:
        dataset = read(source, names=names, label_rule=rule, strict=strict, workers=1)
        examine(dataset)
        if rng.random() < 0.05 and len(dataset):
            return converted(dataset, rng, folder / "out")
        return "problems" if dataset.faults else "clean"
    except DarknetError as error:
        check_message(str(error))
        return "error"
    finally:
        (root / case.file).write_text(FILES[case.file])


def examine(dataset: Dataset) -> None:
    """Check that what the documentation promises of a data set holds."""
    for problem in dataset.problems:
        check_message(str(problem))
        if problem.kind not in KINDS:
            raise AssertionError(f"{problem.kind}: no kind of problem")
    for sample in dataset.samples:
        objects = sample.ground_truth
        ids = objects.class_id
        if not np.isfinite(objects.xyxy).all() or not np.isfinite(objects.area).all():
            raise AssertionError(f"{sample.path}: a box is not finite")
        if len(ids) and not 0 <= ids.min() <= ids.max() < len(dataset.names):
            raise AssertionError(f"{sample.path}: classes {ids} of {len(dataset.names)}")
        if (objects.xyxy[:, 2:] <= objects.xyxy[:, :2]).any():
            raise AssertionError(f"{sample.path}: a box without area")
    json.dumps(statistics(dataset))


def converted(dataset: Dataset, rng: random.Random, out: Path) -> str:
    """Convert and read again: the same boxes."""
    shutil.rmtree(out, ignore_errors=True)
    form = rng.choice(("darknet", "voc", "coco"))
    again = read(convert(dataset, out, format=form, copy=rng.choice(("link", "copy"))))
    examine(again)
    boxes = [sum(len(sample.ground_truth) for sample in each.samples) for each in (dataset, again)]
    if len(dataset) != len(again) or boxes[0] != boxes[1]:
        raise AssertionError(f"{form}: {len(dataset)} {boxes[0]} -> {len(again)} {boxes[1]}")
    return "converted"


def check_message(message: str) -> None:
    """One line that can be printed."""
    message.encode()
    if "\n" in message or len(message) > 4000:
        raise AssertionError(f"a message of {len(message)} characters: {message[:300]!r}")
