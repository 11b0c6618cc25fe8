"""Starting points: the classes of a data set, a schedule to match, few objects expected."""

import math
from collections.abc import Sequence

import torch

from darknet_torch.heads.base import Head
from darknet_torch.network import Network
from darknet_torch.network.editing import with_classes, with_options
from darknet_torch.network.node import Node
from darknet_torch.training.losses import truth_size

__all__ = ["expect_few_objects", "fit_classes", "needs_other_classes", "schedule_for", "steps_of"]

BATCHES_PER_CLASS, FEWEST_BATCHES = 2000, 6000
"""The rule of thumb of AlexeyAB's README for training on images of one's own."""
PRIOR = 0.01
"""The objectness of every anchor that a head starts with, where its values are random."""


def needs_other_classes(network: Network, names: Sequence[str]) -> bool:
    """Return whether a network must be changed for a data set's classes.

    Args:
        network: a detector or classifier.
        names: of the data set's classes; numbers are no names, they stand for indices.
    """
    plan = network.plan
    classes = plan.classes if plan.heads else truth_size(plan)
    if all(name.isdigit() for name in names):
        return len(names) > classes
    return len(names) != classes or (bool(network.names) and tuple(names) != network.names)


def fit_classes(
    network: Network, names: Sequence[str], images: int, batches: int | None = None
) -> Network:
    """Return a copy of a network for other classes: heads, class names and schedule.

    Weights of boxes and objectness are kept, those of classes start at random, see
    `editing.with_classes`. Does by itself the edits that AlexeyAB's README asks for.

    Args:
        network: a network with values.
        names: of the new classes.
        images: number of images of the data set.
        batches: number of updates; None is the rule of thumb, see `schedule_for`.

    Raises:
        UsageError: the classes of this network cannot be changed.
    """
    schedule = schedule_for(len(names), images, batches)
    return with_options(with_classes(network, len(names), names), schedule)


def schedule_for(classes: int, images: int, batches: int | None = None) -> dict[str, object]:
    """Return options of [net] for a data set: as many batches as usual, two drops of the rate."""
    batches = batches or max(BATCHES_PER_CLASS * classes, FEWEST_BATCHES, images)
    steps = ",".join(map(str, steps_of(batches)))
    return {"max_batches": batches, "policy": "steps", "steps": steps, "scales": ".1,.1"}


def steps_of(batches: int) -> tuple[int, int]:
    """Return the batches at which the rate drops: at 80 and 90 %, and never at the first."""
    return max(2, batches * 8 // 10), max(2, batches * 9 // 10)


def expect_few_objects(network: Network) -> None:
    """Let heads that start from random values expect few objects: an objectness of .01, not .5.

    Thousands of anchors are to learn first of all that they hold nothing, and until then only a
    low learning rate does no harm; a bias tells them (Lin et al.: Focal Loss, 2017, section 4.1).
    Heads whose objectness is not exactly .5 at a bias of 0, as trained ones, stay as they are.
    """
    plan = network.plan
    for index, head in zip(plan.heads, plan.head_layers, strict=True):
        source = plan[index].inputs[0]
        if source >= 0:
            _expect_few(network, head, plan[source])


@torch.no_grad()
def _expect_few(network: Network, head: Head, node: Node) -> None:
    kinds = {segment.kind: segment for segment in node.tensors}
    if node.shape.is_vector or "biases" not in kinds or "scales" in kinds:
        return
    module, entry = network.layers[node.index], head.objectness_entry()
    shape = node.input_shapes[0]
    bias = module.get_parameter(kinds["biases"].name)
    nothing = bias.new_zeros(1, *shape)
    if not (head.objectness(head.maps(module(nothing))[:, :, entry]) == 0.5).all():
        return
    numbers = torch.arange(node.shape.c, dtype=torch.float64)
    rows = head.maps(numbers.view(1, -1, 1, 1))[:, :, entry].flatten().long()
    bias[rows.to(bias.device)] = math.log(PRIOR / (1 - PRIOR))
