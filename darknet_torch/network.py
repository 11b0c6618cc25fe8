"""Plan -> network: a plain nn.Module whose forward is one loop over a fixed schedule."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from darknet_torch.errors import UsageError
from darknet_torch.graph import Plan, Step, schedule

__all__ = ["Header", "Network", "State"]

State = dict[int, tuple[Tensor, ...]]


class Header(NamedTuple):
    """What stands before the floats of a weights file; `seen` counts the training pictures."""

    major: int = 0
    minor: int = 2
    revision: int = 5
    seen: int = 0


class Network(nn.Module):
    """A Darknet network.

    plan: its layers and shapes; header: of the weights file it came from; names: of its classes;
    loaded: how many layers the weights file reached.
    """

    def __init__(self, plan: Plan, names: Sequence[str] = ()) -> None:
        super().__init__()
        self.plan = plan
        self.names = tuple(names)
        self.header = Header()
        self.loaded = 0
        with torch.device("meta"):
            modules = [node.layer.build(*node.input_shapes) for node in plan]
        self.layers = nn.ModuleList(modules)
        self._state_shapes = {node.index: node.layer.state(*node.input_shapes) for node in plan}
        self._state: State = {}
        self._steps = schedule(plan, plan.outputs)
        self._all_steps = schedule(plan, tuple(range(len(plan))))
        self._checked = {(plan.input.h, plan.input.w)}
        self.eval()

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the input that the cfg asks for, in pixels."""
        return self.plan.input.w, self.plan.input.h

    @property
    def stateful(self) -> tuple[int, ...]:
        """Indices of the layers that remember something from one call to the next."""
        return tuple(index for index, shapes in self._state_shapes.items() if shapes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Compute the raw maps before all heads, or the last layer's output if there is no head.

        x: (B, channels, H, W) in 0..1 (RGB), or (B, inputs) for networks of vectors. H and W may
        differ from the cfg's where no layer fixes them. Returns a tuple of (B, c, h, w), one a
        head, whatever `training` says; or a single tensor.

        Networks with recurrent layers remember their state until `reset`; `step` does not.
        """
        if not self.stateful:
            return self._result(self._run(self._steps, x, {}))
        result, self._state = self.step(x, self._state)
        return result

    def step(
        self, x: Tensor, state: State | None = None
    ) -> tuple[Tensor | tuple[Tensor, ...], State]:
        """Compute as `forward` does, from a state (None: zeros), and return the state behind it.

        A state is a dictionary: layer index -> its tensors, the batch first.
        """
        state = dict(state or {})
        return self._result(self._run(self._steps, x, state)), state

    def unroll(
        self, x: Tensor, state: State | None = None
    ) -> tuple[list[Tensor | tuple[Tensor, ...]], State]:
        """Compute `step` for each of x's time steps, (T, B, ...); return T results and the state.

        Darknet lays out a batch with `time_steps=T` in this order: step by step, then sequence.
        """
        results = []
        state = dict(state or {})
        for each in x:
            result, state = self.step(each, state)
            results.append(result)
        return results, state

    def reset(self) -> None:
        """Forget the state of recurrent layers."""
        self._state = {}

    def activations(self, x: Tensor) -> list[Tensor]:
        """Return every layer's output as Darknet has it: heads after their activation."""
        outputs = self._run(self._all_steps, x, self._state)
        return [outputs[index] for index in range(len(self.plan))]

    def _result(self, outputs: dict[int, Tensor]) -> Tensor | tuple[Tensor, ...]:
        found = tuple(outputs[index] for index in self.plan.outputs)
        return found if self.plan.heads else found[0]

    def _run(self, steps: Sequence[Step], x: Tensor, state: State) -> dict[int, Tensor]:
        """Run the layers; `state` is renewed in place."""
        if not _is_traced(x):
            x = self._checked_input(x)
        outputs = {-1: x}
        for step in steps:
            module, inputs = self.layers[step.index], [outputs[index] for index in step.inputs]
            if self._state_shapes[step.index]:
                before = self._state_of(step.index, x, state)
                outputs[step.index], *after = module(*inputs, *before)
                state[step.index] = tuple(after)
            else:
                outputs[step.index] = module(*inputs)
            for index in step.forget:
                del outputs[index]
        return outputs

    def _state_of(self, index: int, x: Tensor, state: State) -> tuple[Tensor, ...]:
        """Return the layer's state, zeros where there is none yet."""
        if index not in state:
            shapes = self._state_shapes[index]
            return tuple(
                x.new_zeros(len(x), *(shape[:1] if shape.is_vector else shape)) for shape in shapes
            )
        if len(state[index][0]) != len(x):
            raise UsageError(
                f"batch of {len(x)}: the network's state is of a batch of {len(state[index][0])};"
                f" reset() forgets it"
            )
        return state[index]

    def _checked_input(self, x: Tensor) -> Tensor:
        """Refuse a wrong shape before anything is computed."""
        wanted = self.plan.input
        if wanted.is_vector:
            if x.dim() < 2 or math.prod(x.shape[1:]) != wanted.c:
                raise UsageError(f"input {tuple(x.shape)}: must be (B, {wanted.c})")
            return x.flatten(1)
        if x.dim() != 4 or x.shape[1] != wanted.c:
            raise UsageError(f"input {tuple(x.shape)}: must be (B, {wanted.c}, H, W)")
        size = (x.shape[2], x.shape[3])
        if size not in self._checked:
            self.plan.resized(*size)
            self._checked.add(size)
        return x


def _is_traced(x: object) -> bool:
    """Say whether a compiler or torch.fx looks on: shapes are symbols then, not to be compared."""
    return torch.compiler.is_compiling() or isinstance(x, torch.fx.Proxy)
