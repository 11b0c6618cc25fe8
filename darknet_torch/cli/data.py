"""Data sets: check them, count what is in them, write them in another format.

SOURCE is a .yaml description (or coco, voc), a .data file, a list of images, a folder, a glob, a
folder in VOC's layout, a COCO .json, an http(s) address of one of these files or of an image, or -
for paths and addresses of images on standard input.
Exit status of check: 0 clean, 1 problems, 2 wrong input.

examples: darknet-torch data check my.data
          darknet-torch data stats my.yaml --split train
          darknet-torch data convert VOCdevkit/VOC2007 --split test -o voc-for-darknet --to darknet
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from darknet_torch.cli.images import STANDARD_INPUT
from darknet_torch.cli.output import print_json
from darknet_torch.cli.parameters import add_parameters, parameters_of
from darknet_torch.safety.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from darknet_torch.data import Dataset

READ = ("darknet_torch.data.reading", "read")
# A copy of data.reading's, whose import brings numpy, while help has to be fast.
DATASET_FORMATS = ("darknet", "voc", "coco", "folders", "paths", "classification")
SHOWN = 20
"""Problems of a kind that are printed one by one."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the three actions with their arguments."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    check = actions.add_parser("check", help="print every problem, and how many of each kind")
    _add_source(check)
    check.add_argument("--strict", action="store_true", help="stop at the first problem, status 2")
    check.add_argument("--verify", action="store_true", help="decode every image whole")
    stats = actions.add_parser("stats", help="count images, boxes, classes and sizes")
    _add_source(stats)
    for each in (check, stats):
        each.add_argument("--json", action="store_true", help="print JSON")
    convert = actions.add_parser("convert", help="write the data set in another format")
    _add_source(convert)
    convert.add_argument("-o", "--out", required=True, metavar="FOLDER", help="folder to write to")
    convert.add_argument("--to", required=True, choices=("darknet", "voc", "coco"), help="format")
    convert.add_argument(
        "--pictures", choices=("link", "copy", "none"), default="link", help="%(choices)s (link)"
    )
    convert.add_argument(
        "--out-split", choices=("train", "val", "test"), help="split to write (as read)"
    )


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="SOURCE", help=".yaml, .data, list, folder, glob, .json, -"
    )
    parser.add_argument("--split", default="val", help="train, val, test or all (val)")
    parser.add_argument("--names", help="file of class names, one a line; or a .data or .yaml")
    parser.add_argument("--format", choices=DATASET_FORMATS, help="%(choices)s (guessed)")
    parser.add_argument("--label-rule", choices=("pjreddie", "alexeyab"), help="(all are tried)")
    parser.add_argument("--workers", type=int, default=2, help="threads (2)")
    add_parameters(parser, parameters_of(*READ), ["max_pixels"])


def run(options: argparse.Namespace) -> int:
    """Read the data set, then run the action."""
    from darknet_torch.data import read

    keys = ("split", "names", "format", "label_rule", "workers", "max_pixels")
    given: dict[str, Any] = {key: getattr(options, key) for key in keys}
    given |= {key: True for key in ("strict", "verify") if getattr(options, key, False)}
    with _path(options.source) as source, _bar() as progress:
        dataset = read(source, progress=progress, **given)
    return {"check": _check, "stats": _stats, "convert": _convert}[options.action](dataset, options)


@contextmanager
def _path(source: str) -> Iterator[str]:
    """Yield the path of a source; of standard input that of a list with its lines.

    Addresses of the web, as a source or as lines of standard input, are fetched first.
    """
    if source != STANDARD_INPUT and not _is_address(source):
        yield source
        return
    with TemporaryDirectory() as folder:
        if source != STANDARD_INPUT:
            yield str(_fetched(source, Path(folder)))
            return
        text = sys.stdin.buffer.read().replace(b"\0", b"\n").decode(errors="surrogateescape")
        lines = []
        for number, line in enumerate(text.split("\n")):
            beside = Path(folder, str(number))
            lines.append(str(_fetched(line, beside)) if _is_address(line) else line)
        path = Path(folder, "standard-input.txt")
        path.write_text("\n".join(lines), errors="surrogateescape")
        yield str(path)


def _is_address(text: str) -> bool:
    return text.strip().lower().startswith(("http://", "https://"))


def _fetched(address: str, folder: Path) -> Path:
    """Fetch an address into a folder, under the last part of its path."""
    from darknet_torch.inference.sources import fetched

    content = fetched(address.strip()).getvalue()
    folder.mkdir(exist_ok=True)
    path = folder / (re.sub(r"[^\w.-]", "_", Path(urlsplit(address.strip()).path).name) or "image")
    path.write_bytes(content)
    return path


@contextmanager
def _bar() -> "Iterator[Callable[[int, int], None]]":
    from tqdm import tqdm

    with tqdm(unit="picture", disable=not sys.stderr.isatty(), leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _check(dataset: "Dataset", options: argparse.Namespace) -> int:
    boxes = sum(len(sample.ground_truth) for sample in dataset.samples)
    if options.json:
        problems = [{"kind": p.kind, "where": p.where, "what": p.what} for p in dataset.problems]
        counted = {"pictures": len(dataset), "boxes": boxes, "counts": dataset.counts}
        counted["guesses"] = list(dataset.guesses)
        print_json({"source": dataset.source, **counted, "problems": problems})
        return int(bool(dataset.faults))
    shown: Counter[str] = Counter()
    for problem in dataset.problems:
        shown[problem.kind] += 1
        if shown[problem.kind] <= SHOWN:
            print(problem)
    for kind, count in shown.items():
        if count > SHOWN:
            print(f"{count - SHOWN} more of the kind: {kind} (--json has all)")
    classes = f"{len(dataset.names)} classes"
    print(f"{dataset.source}: {len(dataset)} pictures, {boxes} boxes, {classes}")
    for guess in dataset.guesses:
        print(f"a guess: {guess}")
    for kind, count in dataset.counts.items():
        print(f"{count:7} {kind}")
    return int(bool(dataset.faults))


def _stats(dataset: "Dataset", options: argparse.Namespace) -> int:
    from darknet_torch.data import statistics

    counts = statistics(dataset)
    if options.json:
        print_json(counts)
    else:
        print("\n".join(_table(counts)))
    return 0


def _table(counts: dict[str, Any]) -> Iterator[str]:
    yield f"{counts['source']}: {counts['pictures']} pictures, {counts['boxes']} boxes"
    yield ", ".join(f"{key}: {counts[key]}" for key in ("difficult", "truncated", "crowd"))
    spread = ", ".join(f"{key} {value:g}" for key, value in counts["boxes_a_picture"].items())
    yield f"boxes a picture: {spread}; without any: {counts['without_boxes']} pictures"
    yield "boxes: " + ", ".join(f"{count} {size}" for size, count in counts["box_sizes"].items())
    sizes = [f"{w} x {h} ({count})" for w, h, count in counts["picture_sizes"]]
    more = f" and {len(sizes) - 5} other sizes" if len(sizes) > 5 else ""
    yield f"pictures: {', '.join(sizes[:5])}{more}"
    yield f"{'class':>5}  {'boxes':>7}  {'pictures':>8}  name"
    for row in counts["classes"]:
        yield f"{row['class_id']:5}  {row['boxes']:7}  {row['pictures']:8}  {row['class']}"


def _convert(dataset: "Dataset", options: argparse.Namespace) -> int:
    from darknet_torch.data import convert

    known = {"valid": "val", "trainval": "train", "train": "train", "test": "test"}
    split = options.out_split or known.get(options.split, "val")
    path = convert(dataset, options.out, format=options.to, copy=options.pictures, split=split)
    print(f"wrote {printable(str(path))}: {len(dataset)} pictures, split {split}")
    for kind, count in dataset.counts.items():
        print(f"{count:7} {kind}", file=sys.stderr)
    return 0
