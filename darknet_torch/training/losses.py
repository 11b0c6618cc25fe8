"""The losses of a network: each layer that has one gets its input and the ground truth."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from darknet_torch.errors import UsageError
from darknet_torch.layers.base import Layer
from darknet_torch.layers.blocks import straight_through
from darknet_torch.layers.truth import Loss, LossContext, Truth, as_float32
from darknet_torch.network.network import Network
from darknet_torch.network.node import Node
from darknet_torch.network.plan import Plan
from darknet_torch.network.schedule import schedule
from darknet_torch.network.state import State

__all__ = [
    "LossInputs",
    "layer_losses",
    "losses_of",
    "network_cost",
    "no_objects",
    "node_with_masks",
    "total_loss",
    "truth_size",
]


class LossInputs(nn.Module):
    """Computes what the losses of a network are computed from; compile or distribute this one.

    Args:
        network: the network, which has to be in training mode.

    Attributes:
        steps: the layers that it computes.

    Raises:
        UsageError: no layer of the network has a loss.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.steps = schedule(network.plan, _needed(network.plan))

    def forward(self, images: Tensor, state: State | None = None) -> dict[int, Tensor]:
        """Return outputs of layers by their index, -1 being the images.

        Args:
            images: (B, channels, H, W), or (B, inputs) for networks of vectors.
            state: of recurrent layers, which is updated in place; None is all zeros.
        """
        return self.network.run(self.steps, images, {} if state is None else state)


def layer_losses(
    network: Network, images: Tensor, truth: Truth, context: LossContext
) -> dict[int, Loss]:
    """Run a network, which has to be in training mode, once, and return the loss of each layer.

    Args:
        network: the network.
        images: (B, channels, H, W), or (B, inputs) for networks of vectors.
        truth: ground truth of the B images, on the same device.
        context: size of the images, number of images seen.

    Raises:
        UsageError: no layer has a loss, or the ground truth is of another kind than it needs.
    """
    return losses_of(network.plan, LossInputs(network)(images), truth, context)


def losses_of(
    plan: Plan, outputs: Mapping[int, Tensor], truth: Truth, context: LossContext
) -> dict[int, Loss]:
    """Return the loss of each layer that has one, by its index.

    Args:
        plan: of the network.
        outputs: what `LossInputs` returned for B images.
        truth: ground truth of the B images, on the same device.
        context: size of the images, number of images seen.

    Raises:
        UsageError: the ground truth is of another kind than a layer needs.
    """
    losses = {}
    layers = [node.layer for node in plan]
    context = context._replace(label_smoothing=plan.net.label_smooth_eps, shared={})
    for node in _with_loss(plan):
        raw = as_float32(_raw(plan, node, outputs))
        own, before = _truth_of(plan, node, outputs, truth), layers[: node.index]
        loss = node.layer.loss(raw, own, context._replace(layers=before))
        if loss is not None:
            losses[node.index] = loss
    return losses


def total_loss(losses: Mapping[int, Loss]) -> Tensor:
    """Return the sum of all losses, () with gradient; Darknet adds, whatever it prints."""
    return torch.stack([part for loss in losses.values() for part in loss.parts.values()]).sum()


def network_cost(losses: Mapping[int, Loss]) -> Tensor:
    """Return the number that Darknet prints, () without gradient: the mean of the layers' costs."""
    return torch.stack([loss.cost.to(torch.float32) for loss in losses.values()]).mean()


def node_with_masks(plan: Plan) -> Node | None:
    """Return the last layer whose loss needs masks of objects, if any does."""
    return next((node for node in reversed(list(plan)) if node.layer.masks is not None), None)


def no_objects(plan: Plan, images: int, size: tuple[int, int]) -> Truth:
    """Return ground truth of images without objects, and classes of 0, to try the losses with.

    Args:
        plan: of the network.
        images: number of images.
        size: height and width of the network's input in pixels.
    """
    node = node_with_masks(plan)
    empty = replace(Truth.empty(images), values=torch.zeros(images, truth_size(plan)))
    if node is None or plan.heads:
        return empty
    shape = plan.resized(*size)[node.index].shape
    return replace(empty, masks=torch.zeros(images, 0, shape.h, shape.w))


def truth_size(plan: Plan) -> int:
    """Return how many values of each image the losses of a classifier compare: its classes."""
    final = plan[plan.final]
    return final.layer.truth_size(final.shape)


def _with_loss(plan: Plan) -> list[Node]:
    """Return the layers with a loss; a head with `onlyforward=1` computes none."""
    found = [
        node
        for node in plan
        if type(node.layer).loss is not Layer.loss and not node.layer.onlyforward
    ]
    if not found:
        raise UsageError("the network cannot be trained: no layer has a loss (such as a head)")
    return found


def _needed(plan: Plan) -> tuple[int, ...]:
    """Return the layers whose outputs the losses need, -1 being the images."""
    needed = set[int]()
    for node in _with_loss(plan):
        needed |= {node.inputs[0], _source(plan, node.inputs[0])}
        needed |= {each.index for each in _truth_layer(plan, node)}
    return tuple(sorted(needed))


def _truth_layer(plan: Plan, node: Node) -> list[Node]:
    """Return the layer whose output is the ground truth of the layers behind it (`truth=1`)."""
    return [each for each in plan if each.layer.truth and each.index < node.index][-1:]


def _truth_of(plan: Plan, node: Node, outputs: Mapping[int, Tensor], truth: Truth) -> Truth:
    """Return the ground truth that a layer compares its input with."""
    for each in _truth_layer(plan, node):
        truth = replace(truth, values=outputs[each.index].detach().flatten(1))
    return truth


def _source(plan: Plan, index: int) -> int:
    """Return the layer whose output gets the gradient of a layer's output."""
    while index >= 0 and plan[index].layer.passes_gradient:
        index = plan[index].inputs[0]
    return index


def _raw(plan: Plan, node: Node, outputs: Mapping[int, Tensor]) -> Tensor:
    """Return the input of a layer's loss.

    Darknet's [softmax] and [logistic] hand the gradient of their output on to their input as it
    is, without their derivative: a [cost] behind one compares probabilities, and what it finds is
    the gradient of the scores.
    """
    value = outputs[node.inputs[0]]
    source = _source(plan, node.inputs[0])
    if source == node.inputs[0]:
        return value
    return straight_through(value, outputs[source])
