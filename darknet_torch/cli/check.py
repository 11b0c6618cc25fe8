"""Check a cfg, and whether a weights file belongs to it; status 1 if there is a problem.

example: darknet-torch check my.cfg my.weights
"""

import argparse
import warnings

from darknet_torch.cli.arguments import add_cfg, plan_options
from darknet_torch.cli.roles import check_cfg, check_weights
from darknet_torch.errors import DarknetError
from darknet_torch.safety.text import printable


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
    from darknet_torch.loading import load, plan
    from darknet_torch.network import as_network

    check_cfg(options.cfg, options.weights)
    if options.weights is None:
        layers = plan(options.cfg, **plan_options(options))
        return f"{options.cfg}: {len(layers)} layers, {layers.floats:,} weights wanted"
    check_weights(options.cfg, options.weights)
    loaded = load(
        options.cfg,
        options.weights,
        cutoff=options.cutoff,
        partial=options.partial,
        **plan_options(options),
    )
    network = as_network(loaded)
    header = network.header
    return (
        f"{options.cfg}: {len(network.plan)} layers; {options.weights}: version"
        f" {header.major}.{header.minor}.{header.revision}, {header.seen:,} pictures seen,"
        f" fills {network.loaded} layers"
    )
