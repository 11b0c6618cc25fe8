"""What several verbs share: the arguments that name a network, and the progress bar."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from darknet_torch.dialect import DIALECTS
from darknet_torch.errors import UsageError
from darknet_torch.transfer import Progress

if TYPE_CHECKING:
    from darknet_torch.network import Network

__all__ = [
    "WEIGHTS",
    "add_cfg",
    "add_weights",
    "download_bar",
    "load_network",
    "move",
    "plan_options",
    "take_weights",
    "with_bar",
]

T = TypeVar("T")


WEIGHTS = (".weights", ".safetensors", ".pt", ".pth")
"""Endings of files that hold a network's values."""


def add_cfg(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that every verb about a network has."""
    parser.add_argument("cfg", metavar="CFG", help="a name (darknet-torch models) or a .cfg file")
    parser.add_argument("--dialect", choices=list(DIALECTS), help="the fork that the cfg is for")
    parser.add_argument("--width", type=int, help="width of the network's input, in pixels")
    parser.add_argument("--height", type=int, help="height of the network's input, in pixels")
    modes = ("strict", "normal", "darknet")
    parser.add_argument(
        "--mode", choices=modes, default="normal", help="unknown options: %(choices)s"
    )


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add the weights file, which names of the zoo go without, and the class names."""
    parser.add_argument("weights", metavar="WEIGHTS", nargs="?", help="its weights file")
    parser.add_argument("--names", help="file of class names, one a line")


def plan_options(options: argparse.Namespace) -> dict[str, object]:
    """Return the keyword arguments of `plan`, `build` and `load` that were given."""
    return {name: getattr(options, name) for name in ("dialect", "width", "height", "mode")}


def load_network(options: argparse.Namespace, engine: str | None = None) -> "Network":
    """Load the network that the arguments name, with a bar while weights are fetched.

    engine: what runs it, if it is a converted file.
    """
    from darknet_torch.loading import load

    with download_bar(options.cfg) as progress:
        return load(
            options.cfg,
            options.weights,
            names=options.names,
            engine=engine,
            progress=progress,
            **plan_options(options),  # type: ignore[arg-type]
        )


def take_weights(options: argparse.Namespace, endings: Sequence[str] = WEIGHTS) -> None:
    """`VERB my.cfg my.weights ...` gives the weights in the first picture's place."""
    first = options.pictures[:1]
    if options.weights is None and first and first[0].lower().endswith(tuple(endings)):
        options.weights = options.pictures.pop(0)


def move(network: "Network", options: argparse.Namespace) -> "Network":
    """Bring the network to the device and the precision that the arguments name."""
    import torch

    try:
        return network.to(options.device, torch.float16 if options.half else torch.float32)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {options.device}: {str(error).splitlines()[0]}") from error


def with_bar(outcomes: Iterable[T], count: int) -> Iterator[T]:
    """Draw a bar on a terminal while several pictures are worked on."""
    from tqdm import tqdm

    silent = count < 2 or not sys.stderr.isatty()
    yield from tqdm(outcomes, total=count, unit="picture", disable=silent, leave=False)


@contextmanager
def download_bar(name: str) -> Iterator[Progress]:
    """Yield a progress function that draws a bar on a terminal, and nothing elsewhere."""
    from tqdm import tqdm

    bar = tqdm(desc=name, unit="B", unit_scale=True, disable=not sys.stderr.isatty(), leave=False)

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    with bar:
        yield progress
