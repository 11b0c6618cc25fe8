"""List the models that are known by name, or fetch one.

example: darknet-torch models "yolov4*"
"""

import argparse
from dataclasses import asdict

from darknet_torch import zoo
from darknet_torch.cli.output import print_json
from darknet_torch.cli.progress import download_bar


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("pattern", nargs="?", default="*", help='names to list, such as "yolov3*"')
    parser.add_argument("--fetch", action="store_true", help="fetch their weights into the cache")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(options: argparse.Namespace) -> int:
    """Print a line for each model."""
    names = zoo.list_models(options.pattern)
    if not names:
        zoo.find_model(options.pattern)
    if options.fetch:
        for name in names:
            with download_bar(name) as progress:
                zoo.fetch(name, progress)
    models = [zoo.find_model(name) for name in names]
    if options.json:
        print_json([asdict(model) | {"cached": _cached(model.name)} for model in models])
        return 0
    for model in models:
        print(_line(model))
    print(f"cache: {zoo.cache_dir()}")
    return 0


def _cached(name: str) -> str | None:
    path = zoo.cached(name)
    return None if path is None else str(path)


def _line(model: zoo.Model) -> str:
    state = "here" if zoo.cached(model.name) else "-"
    size = f"{model.width} x {model.height}"
    megabytes = f"{model.bytes[0] / 1e6:.1f} MB"
    checked = "checksum known" if model.digest else "checksum not yet verified"
    return (
        f"{model.name:<17}{size:>10}{megabytes:>11}  {state:<5}{model.dialect:<10}"
        f"{checked:<27}{model.accuracy or ''}"
    ).rstrip()
