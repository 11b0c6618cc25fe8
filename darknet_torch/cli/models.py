"""List the models and backbones that are known by name, or fetch some.

example: darknet-torch models "yolov4*"
         darknet-torch models --search coco mish
         darknet-torch models "*.conv.*" --fetch
"""

import argparse
import re
from dataclasses import asdict

from darknet_torch import zoo
from darknet_torch.cli.output import print_json
from darknet_torch.cli.progress import download_bar
from darknet_torch.errors import UsageError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("pattern", nargs="?", default="*", help='names to list, such as "yolov3*"')
    parser.add_argument(
        "--search", nargs="+", metavar="WORD",
        help="those that all words fit: in name, kind of network, task, data, licence, accuracy",
    )  # fmt: skip
    parser.add_argument("--fetch", action="store_true", help="fetch their weights into the cache")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(options: argparse.Namespace) -> int:
    """Print a line for each model and each backbone."""
    entries = _chosen(options)
    if options.fetch:
        for entry in entries:
            with download_bar(entry.name) as progress:
                fetch = zoo.fetch if isinstance(entry, zoo.Model) else zoo.fetch_file
                fetch(entry.name, progress)
    if options.json:
        print_json([asdict(entry) | {"cached": _cached(entry.name)} for entry in entries])
        return 0
    for entry in entries:
        print(_line(entry))
    print(f"cache: {zoo.cache_dir()}")
    return 0


def _chosen(options: argparse.Namespace) -> list[zoo.Model | zoo.Backbone]:
    """Return what the pattern and the words fit, models first."""
    found = None if options.search is None else zoo.search(options.search)
    models, backbones = zoo.list_models(options.pattern), zoo.list_backbones(options.pattern)
    if not models and not backbones:
        zoo.find_model(options.pattern)  # raises an error with the nearest name
    if found is not None:
        models = [name for name in models if name in found]
        backbones = [name for name in backbones if name in found]
        if not models and not backbones:
            words = " ".join(options.search)
            raise UsageError(f"{options.pattern}: none of these models fits {words}")
    return [*map(zoo.find_model, models), *map(zoo.find_backbone, backbones)]


def _cached(name: str) -> str | None:
    path = zoo.cached(name)
    return None if path is None else str(path)


def _line(entry: zoo.Model | zoo.Backbone) -> str:
    """Return an entry's line of the table."""
    if isinstance(entry, zoo.Model):
        size = f"{entry.width}x{entry.height}" if entry.width else "-"
        about = f"{entry.data:<12}{_short_accuracy(entry)}".rstrip()
    else:
        size, about = "-", f"layers 0-{entry.layers - 1} of {entry.cfg}"
    state = "here" if zoo.cached(entry.name) else "-"
    return f"{entry.name:<27} {size:>9} {entry.bytes[0] / 1e6:>6.1f} MB  {state:<5}{about}"


def _short_accuracy(model: zoo.Model) -> str:
    """Return the published accuracy without the data set where that is the one trained on."""
    where = rf" on {re.escape(model.data)}( test-dev| validation| 2007)?"
    return re.sub(where, "", f" {model.accuracy or ''}")
