"""What is checked before the first step: losses, the data set, its classes, the anchors."""

import shlex
from collections.abc import Iterator

import numpy as np

from darknet_torch.data import NOTES, Dataset
from darknet_torch.data.anchors import best_iou, box_sizes, cluster
from darknet_torch.errors import DarknetError, DataError, UsageError, warn
from darknet_torch.heads.base import Sizes
from darknet_torch.layers.base import Layer
from darknet_torch.network.net_section import Net
from darknet_torch.network.node import Node
from darknet_torch.network.plan import Plan
from darknet_torch.training.losses import node_with_masks, truth_size

__all__ = [
    "anchor_hint",
    "check_batch_norm",
    "check_dataset",
    "check_joint",
    "check_labels",
    "check_losses",
    "problem_lines",
]

CLEARLY = 0.03
"""How much better the mean IoU of other anchors must be for a hint."""
STARTS = 5
"""k-means++ starts of that comparison."""


def check_losses(plan: Plan) -> None:
    """Check that there is something to train for, and warn of what does not learn or is not kept.

    Raises:
        UsageError: a head has no loss, or no layer has one.
        CfgError: a head that needs anchors has none.
    """
    for index, head in zip(plan.heads, plan.head_layers, strict=True):
        if type(head).loss is Layer.loss:
            raise UsageError(f"layer {index} [{plan[index].name}]: has no loss to train with")
        if head.lacks_anchors():
            raise head.section.error(
                "anchors= is missing, and boxes learn from the anchors that fit them;"
                " `darknet-torch anchors` finds those of a data set"
            )
    if all(type(node.layer).loss is Layer.loss for node in plan):
        raise UsageError("no layer has a loss: a head, [softmax] or [cost] is needed to train")
    _warn_of_unheeded_options(plan.net)
    for node in plan:
        where = node.layer.section.where()
        _warn_of_unheeded_options(node.layer)
        if node.layer.untrained is not None:
            warn(f"{where}: {node.layer.untrained}")
        if node.layer.dontload and node.tensors:
            warn(f"{where}: dontload=1: what it learns is not in the .weights files")


def _warn_of_unheeded_options(options: Net | Layer) -> None:
    found = [name for name in options.unheeded if getattr(options, name)]
    if found:
        warn(f"{options.section.where()}: {', '.join(found)}: no effect on training here")


def check_batch_norm(plan: Plan, images: int) -> None:
    """Check that batch norm has more than one value of each channel, whose variance it divides by.

    Args:
        plan: of the network.
        images: of a mini-batch.

    Raises:
        UsageError: a layer has one only, which Darknet makes NaN.
    """
    for node in plan:
        normalizes = any(each.kind == "rolling_mean" for each in node.segments)
        if normalizes and images * max(node.shape.h * node.shape.w, 1) < 2:
            raise UsageError(
                f"{node.layer.section.where()}: batch norm of one value of each channel has no"
                " variance; larger images, or more of them in each part (batch / subdivisions)"
            )


def check_dataset(dataset: Dataset, plan: Plan) -> None:
    """Check that a network can be trained on a data set.

    Raises:
        DataError: no image can be read, none has a label, or a label's class has no name.
        UsageError: a class that the network does not have.
    """
    where = dataset.source
    check_labels(dataset)
    node = node_with_masks(plan)
    if plan.heads:
        _check_boxes(dataset, plan)
        if node is not None and not dataset.has_outlines:
            warn(f"{where}: no outline of an object: masks learn nothing")
    elif node is not None:
        _check_masks(dataset, node)
    elif all(sample.label is None for sample in dataset.samples) and not plan.net.contrastive:
        raise DataError(
            f"{where}: no image has a class; a classifier needs class folders, or a list with"
            " names in its paths (format=paths)"
        )
    else:
        labels = {s.label for s in dataset.samples if s.label is not None}
        _check_range(dataset, labels, truth_size(plan))


def check_labels(dataset: Dataset) -> None:
    """Check that there are images, and that no row was left out, as its class has no name.

    The other rows may well be of other classes than they say, such as those that count from 1.

    Raises:
        DataError: there are none, or rows were left out.
    """
    if not dataset.samples:
        first = next((f": {each}" for each in dataset.problems if each.kind not in NOTES), "")
        raise DataError(f"{dataset.source}: no image that can be read{first}")
    beyond = [each for each in dataset.problems if each.kind == "class out of range"]
    if beyond:
        rows = f"{len(beyond)} row{'s' if len(beyond) > 1 else ''}"
        raise DataError(f"{beyond[0]} ({rows}): labels count from 0, and each class needs a name")


def _check_masks(dataset: Dataset, node: Node) -> None:
    if not dataset.has_outlines:
        raise DataError(
            f"{dataset.source}: no outline of an object, which [{node.name}] learns from;"
            " COCO's files have them (segmentation), and Darknet's mask files"
        )
    ids = np.concatenate([sample.ground_truth.class_id for sample in dataset.samples])
    assert node.layer.masks is not None
    _check_range(dataset, set(ids.tolist()), node.layer.masks.classes)


def check_joint(dataset: Dataset, plan: Plan) -> None:
    """Check that a network can learn from images with a class and no boxes, beside those with some.

    Raises:
        DataError: no image can be read, one has no class, or a label's class has no name.
        UsageError: no head has a word tree, or a class that it does not have.
    """
    where = dataset.source
    if all(head.word_tree is None for head in plan.head_layers):
        raise UsageError(f"{where}: only [region] with a word tree (tree=) learns classes alone")
    check_labels(dataset)
    without = next((s for s in dataset.samples if s.label is None), None)
    if without is not None:
        raise DataError(f"{where}: {without.path} has no class, which joint images need")
    _check_range(dataset, {s.label for s in dataset.samples if s.label is not None}, plan.classes)


def _check_boxes(dataset: Dataset, plan: Plan) -> None:
    ids = np.concatenate([sample.ground_truth.class_id for sample in dataset.samples])
    if not len(ids):
        raise DataError(
            f"{dataset.source}: no box in {len(dataset)} images; are the label files where they are"
            " looked for? (`darknet-torch data check` lists all problems)"
        )
    _check_range(dataset, set(ids.tolist()), plan.classes)


def _check_range(dataset: Dataset, ids: set[int], classes: int) -> None:
    beyond = sorted(each for each in ids if each >= classes)
    if beyond:
        name = dataset.names[beyond[0]] if beyond[0] < len(dataset.names) else ""
        raise UsageError(
            f"{dataset.source}: class {beyond[0]} {name}".rstrip()
            + f" occurs, but the network has {classes} classes; classes= (--classes) changes them"
        )


def problem_lines(dataset: Dataset) -> Iterator[str]:
    """Yield what is to be said of a data set: how many images and objects, and all its problems."""
    boxes = sum(len(sample.ground_truth) for sample in dataset.samples)
    with_class = sum(sample.label is not None for sample in dataset.samples)
    objects = f"{with_class} of them with a class" if with_class else f"{boxes} boxes"
    yield f"{dataset.source}: {len(dataset)} images, {objects}, {len(dataset.names)} classes"
    if dataset.faults:
        kinds = {fault.kind for fault in dataset.faults}  # not those of notes
        counts = ", ".join(f"{k} {count}" for k, count in dataset.counts.items() if k in kinds)
        yield f"{dataset.source}: {len(dataset.faults)} faults ({counts}); the first:"
        yield f"{dataset.faults[0]}"


def anchor_hint(dataset: Dataset, plan: Plan, seed: int = 0) -> str | None:
    """Compare the anchors with the boxes of a data set.

    Returns:
        A line with the mean IoU of the boxes with the best anchor, and a hint where other anchors
        fit clearly better; None if no head has anchors.
    """
    anchors = _anchors(plan)
    boxes = box_sizes(dataset, plan.input.w, plan.input.h, letterbox=plan.letterbox)
    if not anchors or not len(boxes):
        return None
    now = float(best_iou(boxes, np.array(anchors))[0].mean())
    line = f"anchors: mean IoU {now:.2f} with the boxes of {dataset.source}"
    try:
        better = cluster(boxes, len(anchors), restarts=STARTS, seed=seed).mean_iou
    except DarknetError:  # fewer different boxes than anchors
        return line
    if better < now + CLEARLY:
        return line
    source = shlex.quote(dataset.source) if dataset.source else "DATA"
    command = f"darknet-torch anchors {source} --clusters {len(anchors)}"
    command += f" --width {plan.input.w} --height {plan.input.h}"
    command += " --letterbox" if plan.letterbox else ""
    return f"{line}; {better:.2f} with those of `{command}`"


def _anchors(plan: Plan) -> Sizes:
    """Return the anchors of all heads, in pixels; lists that several heads share count once."""
    image = (plan.input.h, plan.input.w)
    lists: dict[Sizes, None] = {}
    for index, head in zip(plan.heads, plan.head_layers, strict=True):
        shape = plan[index].input_shapes[0]
        if not shape.is_vector:
            lists[head.anchor_sizes((shape.h, shape.w), image)] = None
    return tuple(each for sizes in lists for each in sizes)
