"""Network -> the same network with batch norm folded into the weights, and a cfg without it."""

from dataclasses import replace

from torch import nn

from darknet_torch.errors import UsageError
from darknet_torch.network.network import Network, tie_shared
from darknet_torch.network.plan import Plan
from darknet_torch.parsing.parser import Section

__all__ = ["fold"]

DROPPED = {"batch_normalize", "cbn", "dontload", "dontloadscales", "numload"}
"""Options that a layer loses with its batch norm; the file of a folded network has all values."""


def fold(network: Network, *, as_detector: bool = False, copy: bool = False) -> Network:
    """Return a copy of a network with batch norm folded into the weights before it.

    Its plan is of a cfg without batch norm, so that it can be saved, converted and read by
    Darknet. [batchnorm], binary and recurrent layers keep theirs.

    Args:
        network: has values.
        as_detector: change weighted shortcuts as AlexeyAB's detector does when it folds: with
            weights_normalization=relu a weight below .001 becomes .001.
        copy: let layers without batch norm have tensors of their own; else they share those of
            the original, and change with them.

    Raises:
        UsageError: the network has no values.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        raise UsageError("the network has no values yet; load or initialise it before folding")
    pairs = list(zip(network.plan, network.layers, strict=True))
    states = [node.layer.fold(module, as_detector=as_detector) for node, module in pairs]
    folded = Network(_plan(network.plan, [state is not None for state in states]), network.names)
    for old, new, state in zip(network.layers, folded.layers, states, strict=True):
        new.load_state_dict(old.state_dict() if state is None else state, assign=True)
        _keep_constants(old, new)
    tie_shared(folded)
    if copy:
        for tensor in (*folded.parameters(), *folded.buffers()):
            tensor.data = tensor.data.clone()
    folded.header, folded.loaded = network.header, network.loaded
    return folded.requires_grad_(False)


def _plan(plan: Plan, changed: list[bool]) -> Plan:
    sections = [
        _without(node.layer.section, DROPPED) if folded else node.layer.section
        for node, folded in zip(plan, changed, strict=True)
    ]
    return plan.with_layers(sections)


def _without(section: Section, keys: set[str]) -> Section:
    return replace(section, options=tuple(o for o in section.options if o.key not in keys))


def _keep_constants(old: nn.Module, new: nn.Module) -> None:
    """Take over buffers that are in no state dict, such as blur kernels, with their device."""
    for name, buffer in old.named_buffers():
        if name not in old.state_dict():
            path, _, last = name.rpartition(".")
            new.get_submodule(path).register_buffer(last, buffer, persistent=False)
