"""How each parameter of a network is trained: the options of its layer, and of [net]."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from darknet_torch.errors import UsageError
from darknet_torch.network.net_section import Net
from darknet_torch.network.network import Network
from darknet_torch.network.node import Node
from darknet_torch.network.plan import Plan

__all__ = ["NEVER", "Rule", "rules"]

NEVER = sys.maxsize
"""A batch that does not come."""
DECAYED = ("weights", "implicit_weights")
"""Kinds of tensors with weight decay and `clip`; biases, scales of batch norm and the weights of
shortcuts have none."""
STATISTICS = ("rolling_mean", "rolling_variance")


@dataclass(frozen=True, eq=False)
class Rule:
    """How a parameter is trained.

    Attributes:
        parameter: of the network.
        decayed: whether SGD decays it; Adam decays all.
        rate_factor: `learning_rate` of its layer, a factor of that of [net].
        clip: bound of its absolute values after each update; 0 for none.
        learns_from: number of the first batch that gives it a gradient.
        updated_from: number of the first batch that updates it.
    """

    parameter: nn.Parameter
    decayed: bool
    rate_factor: float
    clip: float
    learns_from: int
    updated_from: int

    @property
    def trained(self) -> bool:
        """Whether it ever gets a gradient that counts."""
        return max(self.learns_from, self.updated_from) < NEVER


def rules(
    network: Network, net: Net | None = None, *, freeze: int = 0, as_darknet: bool = False
) -> list[Rule]:
    """Return how each parameter is trained, shared ones once, in the order of the weights file.

    Args:
        network: whose parameters.
        net: options of [net]; None: those of the network's cfg.
        freeze: number of first layers that are not trained.
        as_darknet: see `Solver`.

    Raises:
        UsageError: no parameter is left to train, or there are fewer layers than frozen ones.
    """
    plan = network.plan
    if not 0 <= freeze <= len(plan):
        raise UsageError(f"freeze={freeze}: the network has {len(plan)} layers")
    net = plan.net if net is None else net
    found = list[Rule]()
    for node in plan:
        learns_from, updated_from = _first_batches(plan, net, node, freeze)
        found += _of_layer(network, node, net, learns_from, updated_from, as_darknet=as_darknet)
    if not any(rule.updated_from < NEVER for rule in found):
        raise UsageError("no layer is left to train: all are frozen, or have no weights")
    return found


def _of_layer(
    network: Network,
    node: Node,
    net: Net,
    learns_from: int,
    updated_from: int,
    *,
    as_darknet: bool,
) -> Iterator[Rule]:
    layer, module = node.layer, network.layers[node.index]
    updated = layer.dialect.updated
    if as_darknet and updated is not None and node.name not in updated:
        updated_from = NEVER
    if not as_darknet:  # what gets no gradient does not decay either
        updated_from = max(learns_from, updated_from)
    clip = (layer.clip or net.clip) if layer.clips_weights else 0.0
    for tensor in node.tensors:
        if tensor.kind in STATISTICS:
            continue
        fixed = not (tensor.stored or layer.dontload or layer.dontloadscales)
        decayed = tensor.kind in DECAYED
        yield Rule(
            module.get_parameter(tensor.name),
            decayed,
            layer.learning_rate,
            clip if decayed else 0.0,
            learns_from,
            NEVER if fixed else updated_from,
        )


def _first_batches(plan: Plan, net: Net, node: Node, freeze: int) -> tuple[int, int]:
    """Return the first batch that gives a layer gradients, and the first that updates it.

    `stopbackward` ends the backward pass: neither its layer nor any before it gets gradients, for
    ever or in the first batches. `train_only_bn`, too, is for all layers before: nothing but the
    running statistics of batch norm changes. AlexeyAB's code is the source of the limits.
    """
    behind = plan.nodes[node.index :]
    layer = node.layer
    learns_from = max(_stops_until(each) for each in behind) + 1
    updated_from = max(layer.dont_update + 1, layer.burnin_update * net.burn_in)
    if layer.onlyforward:
        learns_from = NEVER
    if node.index < freeze or any(each.layer.train_only_bn for each in behind):
        updated_from = NEVER
    return learns_from, updated_from


def _stops_until(node: Node) -> int:
    """Return the last batch whose backward pass ends at a layer."""
    batches = node.layer.stopbackward
    timed = node.layer.dialect.timed_stopbackward and batches != 1
    return batches if timed or not batches else NEVER - 1
