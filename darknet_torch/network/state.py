"""What recurrent layers keep from one call to the next."""

from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.layers.base import Shape
from darknet_torch.network.plan import Plan

__all__ = ["State", "state_of", "state_shapes"]

State = dict[int, tuple[Tensor, ...]]
"""Index of a recurrent layer -> its tensors, the batch first."""


def state_shapes(plan: Plan) -> dict[int, tuple[Shape, ...]]:
    """Return the state's shapes of each recurrent layer."""
    shapes = {node.index: node.layer.state(*node.input_shapes) for node in plan}
    return {index: each for index, each in shapes.items() if each}


def state_of(index: int, x: Tensor, shapes: tuple[Shape, ...], state: State) -> tuple[Tensor, ...]:
    """Return a layer's state, zeros where there is none yet."""
    expected = [(len(x), *(shape[:1] if shape.is_vector else shape)) for shape in shapes]
    if index not in state:
        return tuple(x.new_zeros(shape) for shape in expected)
    actual = [tuple(each.shape) for each in state[index]]
    if actual != expected:
        raise UsageError(
            f"input {tuple(x.shape)}: the network's state is of another batch or size,"
            f" {actual[0]}, not {expected[0]}; reset() forgets it"
        )
    return state[index]
