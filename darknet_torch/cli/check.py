"""Check a cfg, and whether a weights file belongs to it; status 1 if there is a problem.

example: darknet-torch check my.cfg my.weights
"""

import argparse
import warnings
from typing import TYPE_CHECKING

from darknet_torch.cli.arguments import add_cfg, plan_options
from darknet_torch.cli.roles import check_cfg, check_weights
from darknet_torch.errors import DarknetError, UsageError
from darknet_torch.safety.text import printable

if TYPE_CHECKING:
    from darknet_torch.network import Network

COMPARE = "darknet-torch verify CFG WEIGHTS"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_cfg(parser)
    parser.add_argument("weights", metavar="WEIGHTS", nargs="?", help="a weights file")
    parser.add_argument("--cutoff", type=int, help="the file holds only the first N layers")
    parser.add_argument("--partial", action="store_true", help="the file may end after any layer")


def run(options: argparse.Namespace) -> int:
    """Print the problems, one line each, and a summary."""
    with warnings.catch_warnings(record=True) as problems:
        warnings.simplefilter("always")
        try:
            summary = _check(options)
        except DarknetError as error:
            summary = f"error: {error}"
    for each in problems:
        print(f"warning: {printable(str(each.message))}")
    print(printable(summary))
    return int(bool(problems) or summary.startswith("error"))


def _check(options: argparse.Namespace) -> str:
    from darknet_torch.inference.engines import is_converted
    from darknet_torch.loading import load, plan
    from darknet_torch.network import as_network
    from darknet_torch.network.checkpoint_file import has_ending

    check_cfg(options.cfg, options.weights)
    if options.weights is None and is_converted(options.cfg):
        raise UsageError(f"{options.cfg}: a converted file: {COMPARE} {options.cfg} checks it")
    if options.weights is None and has_ending(options.cfg):
        network = as_network(load(options.cfg, **plan_options(options)))
        return f"{options.cfg}: {len(network.plan)} layers, the cfg inside; {_filled(network)}"
    if options.weights is None:
        layers = plan(options.cfg, **plan_options(options))
        return f"{options.cfg}: {len(layers)} layers, {layers.floats:,} weights wanted"
    check_weights(options.cfg, options.weights, backbone=True)
    loaded = load(
        options.cfg,
        options.weights,
        cutoff=options.cutoff,
        partial=options.partial,
        **plan_options(options),
    )
    network = as_network(loaded)
    return f"{options.cfg}: {len(network.plan)} layers; {options.weights}: {_filled(network)}"


def _filled(network: "Network") -> str:
    """Return what the header says, and how many layers have values."""
    header = network.header
    version = f"{header.major}.{header.minor}.{header.revision}"
    return f"version {version}, {header.seen:,} pictures seen, fills {network.loaded} layers"
