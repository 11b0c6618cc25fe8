"""Starting points: a network for the classes of a data set, with a schedule to match."""

from collections.abc import Sequence

from darknet_torch.network import Network
from darknet_torch.network.editing import with_classes, with_options

__all__ = ["fit_classes", "needs_other_classes", "schedule_for"]

BATCHES_PER_CLASS, FEWEST_BATCHES = 2000, 6000
"""The rule of thumb of AlexeyAB's README for training on images of one's own."""


def needs_other_classes(network: Network, names: Sequence[str]) -> bool:
    """Return whether a network must be changed for a data set's classes.

    Args:
        network: a detector or classifier.
        names: of the data set's classes; numbers are no names, they stand for indices.
    """
    plan = network.plan
    classes = plan.classes if plan.heads else plan[plan.final].shape.c
    if all(name.isdigit() for name in names):
        return len(names) > classes
    return len(names) != classes or (bool(network.names) and tuple(names) != network.names)


def fit_classes(network: Network, names: Sequence[str], images: int) -> Network:
    """Return a copy of a network for other classes: heads, class names and schedule.

    Weights of boxes and objectness are kept, those of classes start at random, see
    `editing.with_classes`. Does by itself the edits that AlexeyAB's README asks for.

    Args:
        network: a network with values.
        names: of the new classes.
        images: number of images of the data set.

    Raises:
        UsageError: the classes of this network cannot be changed.
    """
    return with_options(with_classes(network, len(names), names), schedule_for(len(names), images))


def schedule_for(classes: int, images: int) -> dict[str, object]:
    """Return options of [net] for a data set: as many batches as usual, two drops of the rate."""
    batches = max(BATCHES_PER_CLASS * classes, FEWEST_BATCHES, images)
    steps = f"{batches * 8 // 10},{batches * 9 // 10}"
    return {"max_batches": batches, "policy": "steps", "steps": steps, "scales": ".1,.1"}
