"""Show the layers of a network: shapes, weights, operations, memory.

example: darknet-torch summary yolov4-tiny --width 320 --height 320
"""

import argparse

from darknet_torch.cli.arguments import add_cfg, plan_options
from darknet_torch.cli.output import print_json
from darknet_torch.cli.roles import check_cfg


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_cfg(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    from darknet_torch.loading import plan
    from darknet_torch.network.summary import summarize

    check_cfg(options.cfg, None)
    summary = summarize(plan(options.cfg, **plan_options(options)))
    if options.json:
        print_json(summary.to_dict())
    else:
        print(summary)
    return 0
