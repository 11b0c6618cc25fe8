"""Network and another plan -> a network of that plan with copies of the tensors."""

from collections.abc import Callable, Mapping
from itertools import chain

import torch
from torch import Tensor, nn

from darknet_torch.errors import ShapeError, UsageError, warn
from darknet_torch.network.network import Network, tie_shared
from darknet_torch.network.plan import Node, Plan

__all__ = ["rebuilt"]

Renew = Callable[[int, Mapping[str, Tensor]], Mapping[str, Tensor]]


def rebuilt(
    network: Network,
    plan: Plan,
    renew: Renew = lambda _index, _state: {},
    *,
    anew: bool = False,
) -> Network:
    """Return a network of another plan with copies of the tensors.

    Args:
        network: a network with values.
        plan: of the same layers, or of the first ones.
        renew: index and tensors of a layer -> those that take the place of the copies.
        anew: layers whose tensors do not fit start at random, with a warning.

    Raises:
        UsageError: the network has no values.
        ShapeError: a tensor does not fit, and not `anew`.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        raise UsageError("the network has no values yet; load or initialise it first")
    result, random = Network(plan), []
    for node, old, new in zip(plan, network.layers, result.layers, strict=False):
        state = {name: tensor.clone() for name, tensor in old.state_dict().items()}
        state |= renew(node.index, state)
        if anew and _misfit(new, state):
            random.append(node.index)
            _begin_anew(node, new)
        else:
            _take(node, old, new, state)
    if random:
        numbers = ", ".join(map(str, random))
        warn(f"options change the shapes of weights; random values again in layers: {numbers}")
    tie_shared(result.to(network.device))
    result.header = network.header
    return result.train(network.training)


def _take(node: Node, old: nn.Module, new: nn.Module, state: dict[str, Tensor]) -> None:
    """Give a layer its tensors, and the buffers that no state holds, such as blur kernels."""
    if misfit := _misfit(new, state):
        raise node.layer.section.error(
            f"{misfit}: change the cfg in place of the option, and load its weights or initialise"
            " it",
            kind=ShapeError,
        )
    new.load_state_dict(state, assign=True)
    for name, buffer in new.named_buffers():
        buffer.data = buffer.to(old.get_buffer(name))


def _misfit(module: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Return which tensor is not there, or has another shape than is needed; empty if all fit."""
    needed = module.state_dict()
    for name in dict.fromkeys(chain(needed, state)):
        if name not in state:
            return f"{name} of shape {tuple(needed[name].shape)} would be needed"
        if name not in needed:
            return f"{name} has shape {tuple(state[name].shape)}, and would not be needed"
        shapes = [tuple(each[name].shape) for each in (state, needed)]
        if shapes[0] != shapes[1]:
            return f"{name} has shape {shapes[0]}, and would need {shapes[1]}"
    return ""


def _begin_anew(node: Node, module: nn.Module) -> None:
    """Give a layer random values, as a new network has them."""
    needed = module.state_dict()
    state = {each.name: each.initial(tuple(needed[each.name].shape)) for each in node.tensors}
    counts = [name for name in needed if name.endswith("num_batches_tracked")]
    state |= {name: torch.zeros((), dtype=torch.int64) for name in counts}
    module.load_state_dict(state, strict=False, assign=True)
