"""Classify images, and print the most probable classes of each.

example: darknet-torch classify darknet19 photo.jpg --top 3
         darknet-torch classify my.cfg my.weights shots/ --names my.names
"""

import argparse

from darknet_torch.cli.arguments import (
    WEIGHTS,
    add_cfg,
    add_trust,
    load_runnable,
    take_weights,
)
from darknet_torch.cli.output import note, print_json
from darknet_torch.cli.parameters import add_parameters, given, parameters_of
from darknet_torch.cli.progress import with_bar
from darknet_torch.text import printable

SIGNATURE = ("darknet_torch.inference.classifier", "classify")
NEGATIVE = {
    "letterbox": ("--crop", "cut out the centre"),
    "leaves": ("--all-nodes", "of a word tree: inner classes too"),
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_cfg(parser)
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="files, folders, globs; before them the .weights file, if CFG is a file",
    )
    parser.add_argument("--weights", help="weights file (default: the named model's)")
    parser.add_argument("--names", help="file of class names, labels or short names, one a line")
    add_parameters(parser, parameters_of(*SIGNATURE), negative=NEGATIVE)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (%(default)s)")
    parser.add_argument("--half", action="store_true", help="compute in float16")
    add_trust(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.set_defaults(engine=None)


def run(options: argparse.Namespace) -> int:
    """Classify all images; report the broken ones at the end."""
    from darknet_torch.inference.classifier import Classifier
    from darknet_torch.inference.engines import ENDINGS
    from darknet_torch.inference.streaming import expand

    take_weights(options, (*WEIGHTS, *ENDINGS))
    classifier = Classifier(load_runnable(options), **given(options, parameters_of(*SIGNATURE)))
    sources = list(expand(options.images)[0])
    broken, shown = [], []
    for outcome in with_bar(classifier.stream(sources), len(sources)):
        if outcome.result is None:
            broken.append(outcome.error)
        elif options.json:
            shown.append(outcome.result.to_dict())
        else:
            print(f"{printable(outcome.source)}:")
            for name, score in outcome.result.pairs():
                print(f"  {score:7.2%}  {printable(name)}")
    if options.json:
        print_json(shown)
    for error in broken:
        note(f"darknet-torch: {error}")
    return int(bool(broken))
