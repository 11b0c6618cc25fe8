"""The order in which the layers of a plan run, and when each output can be dropped."""

from dataclasses import dataclass

from darknet_torch.network.plan import Plan

__all__ = ["Step", "schedule"]


@dataclass(frozen=True)
class Step:
    """Run layer `index` on `inputs`, then drop the outputs that no later layer reads."""

    index: int
    inputs: tuple[int, ...]
    drop: tuple[int, ...]


def schedule(plan: Plan, outputs: tuple[int, ...]) -> tuple[Step, ...]:
    """Return the layers that some outputs need, in order, with what can be dropped after each."""
    needed = {index for index in outputs if index >= 0}
    for node in reversed(plan.nodes):
        if node.index in needed:
            needed.update(index for index in node.inputs if index >= 0)
    last_use = {index: node.index for node in plan if node.index in needed for index in node.inputs}
    return tuple(
        Step(
            node.index,
            node.inputs,
            tuple(
                i
                for i in dict.fromkeys(node.inputs)
                if last_use[i] == node.index and i not in outputs
            ),
        )
        for node in plan
        if node.index in needed
    )
