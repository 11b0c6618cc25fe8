"""What several verbs share: the arguments that name a network, and the progress bar."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from darknet_torch.dialect import DIALECTS
from darknet_torch.transfer import Progress

if TYPE_CHECKING:
    from darknet_torch.network import Network

__all__ = ["add_cfg", "download_bar", "load_network", "plan_options"]


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


def plan_options(options: argparse.Namespace) -> dict[str, object]:
    """Return the keyword arguments of `plan`, `build` and `load` that were given."""
    return {name: getattr(options, name) for name in ("dialect", "width", "height", "mode")}


def load_network(options: argparse.Namespace) -> "Network":
    """Load the network that the arguments name, with a bar while weights are fetched."""
    import darknet_torch

    with download_bar(options.cfg) as progress:
        return darknet_torch.load(
            options.cfg,
            options.weights,
            names=options.names,
            progress=progress,
            **plan_options(options),  # type: ignore[arg-type]
        )


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
