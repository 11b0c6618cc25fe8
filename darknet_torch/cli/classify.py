"""Classify images, and print the most probable classes of each.

example: darknet-torch classify darknet19 photo.jpg --top 3
         darknet-torch classify my.cfg my.weights shots/ --names my.names
"""

import argparse
from typing import TYPE_CHECKING

from darknet_torch.cli.arguments import (
    add_cfg,
    add_device,
    add_trust,
    load_runnable,
    take_weights,
    use_own_card,
)
from darknet_torch.cli.images import add_images, batches, own_share, show_all, wait_for_others
from darknet_torch.cli.parameters import add_parameters, given, parameters_of
from darknet_torch.safety.text import printable

if TYPE_CHECKING:
    from darknet_torch.inference.classifier import Classification
    from darknet_torch.inference.streaming import Outcome

SIGNATURE = ("darknet_torch.inference.classifier", "classify")
NEGATIVE = {
    "letterbox": ("--crop", "cut out the centre"),
    "leaves": ("--all-nodes", "of a word tree: inner classes too"),
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_cfg(parser)
    add_images(parser)
    parser.add_argument("--weights", help="weights file (default: the named model's)")
    parser.add_argument("--names", help="file of class names, labels or short names, one a line")
    add_parameters(parser, parameters_of(*SIGNATURE), _options(), negative=NEGATIVE)
    add_device(parser)
    add_trust(parser)
    parser.set_defaults(engine=None)


def _options() -> list[str]:
    """Return the parameters of `classify` that are options: broken images are never skipped."""
    return [name for name in parameters_of(*SIGNATURE) if name != "errors"]


def run(options: argparse.Namespace) -> int:
    """Classify all images; report the broken ones at the end."""
    from darknet_torch.inference.classifier import Classifier

    take_weights(options)
    use_own_card(options)
    classifier = Classifier(load_runnable(options), **given(options, _options()))
    mine = ([batch[index] for index in own_share(batch)] for batch in batches(options.images))
    status = show_all(mine, classifier.stream, _text, as_json=options.json)
    wait_for_others()
    return status


def _text(outcome: "Outcome[Classification]") -> str:
    """Return what is printed of one image."""
    pairs = outcome.result.pairs() if outcome.result is not None else []
    rows = [f"  {score:7.2%}  {printable(name)}" for name, score in pairs]
    return "\n".join([f"{printable(outcome.source)}:", *rows])
