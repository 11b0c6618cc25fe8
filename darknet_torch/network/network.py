"""Plan -> network: a plain nn.Module whose forward is one loop over a fixed schedule."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from darknet_torch.errors import UsageError
from darknet_torch.layers.base import Shape
from darknet_torch.layers.traced import is_jit_traced, is_symbolic, is_traced
from darknet_torch.network.float32 import float32_products
from darknet_torch.network.plan import Plan
from darknet_torch.network.runnable import Contents, Runnable
from darknet_torch.network.schedule import Step, schedule
from darknet_torch.network.state import State, state_of, state_shapes
from darknet_torch.network.summary import one_line, summarize

__all__ = ["Header", "Network", "RawNetwork", "as_network", "tie_shared"]


VALUES_PER_WEIGHT = 2.5
"""Values of a batch's maps, for each weight, from which on oneDNN is faster with channels last:
it brings weights into the layout that this needs more slowly, and maps faster."""


class Header(NamedTuple):
    """The header of a weights file; `seen` is the number of training images."""

    major: int = 0
    minor: int = 2
    revision: int = 5
    seen: int = 0


class RawNetwork(nn.Module):
    """A module with a plan that returns the raw maps before its heads."""

    plan: Plan

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the input in the cfg, in pixels."""
        return self.plan.input.w, self.plan.input.h

    @property
    def contents(self) -> Contents:
        """Raw maps, which the plan's heads decode."""
        return "raw"

    @property
    def letterbox(self) -> bool:
        """Whether a detector's images keep their aspect ratio: as the plan has it."""
        return self.plan.letterbox

    def __repr__(self) -> str:
        return one_line(type(self).__name__, self.plan)

    def __str__(self) -> str:
        return f"{self!r}\n{summarize(self.plan)}"

    def _repr_html_(self) -> str:
        """Return the table of the layers as HTML, for notebooks."""
        return summarize(self.plan).to_html(repr(self))


class Network(RawNetwork):
    """A Darknet network.

    Args:
        plan: its layers and shapes.
        names: of its classes.

    Attributes:
        header: of the weights file that was read.
        loaded: number of layers that the weights file held.
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
        self._state: State = {}
        self._steps = schedule(plan, plan.outputs)
        self._all_steps = schedule(plan, tuple(range(len(plan))))
        self._values_per_weight = sum(math.prod(each.shape) for each in plan) / max(plan.floats, 1)
        self._state_shapes = {(plan.input.h, plan.input.w): state_shapes(plan)}
        self.eval()

    @property
    def stateful(self) -> tuple[int, ...]:
        """Indices of the recurrent layers, which keep a state from one call to the next."""
        return tuple(self._state_shapes[self.plan.input.h, self.plan.input.w])

    @property
    def device(self) -> torch.device:
        """The device of its tensors."""
        return self._some_tensor().device

    @property
    def dtype(self) -> torch.dtype:
        """The type that it computes in."""
        return self._some_tensor().dtype

    @property
    def input_dtype(self) -> torch.dtype:
        """The type of the images that it takes."""
        return self.dtype

    def _some_tensor(self) -> Tensor:
        """Return a parameter; a network without any computes float32 on the CPU."""
        return next(self.parameters(), torch.empty(0, device="cpu"))

    @property
    def concurrent(self) -> bool:
        """Whether several threads may call it at once, and gain: on a CPU, without any state."""
        return not self.stateful and self.device.type == "cpu"

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Compute the raw maps before all heads, or the last layer's output if there is no head.

        Networks with recurrent layers keep their state until `reset`; `step` does not.

        Args:
            x: (B, channels, H, W) in 0..1, RGB, or (B, inputs) for networks of vectors. H and W may
                differ from the cfg's where no layer fixes them.

        Returns:
            A tuple of (B, c, h, w), one for each head, in training too; or a single tensor.

        Raises:
            UsageError: x has another shape.
        """
        if not self.stateful:
            return self._result(self.run(self._steps, x, {}))
        if is_jit_traced():
            raise UsageError("a trace would freeze the state that the network keeps")
        result, self._state = self.step(x, self._state)
        return result

    def step(
        self, x: Tensor, state: State | None = None
    ) -> tuple[Tensor | tuple[Tensor, ...], State]:
        """Compute as `forward` does, from a given state, and return the new state too.

        Args:
            x: as in `forward`.
            state: layer index -> its tensors, the batch first; None is all zeros.
        """
        state = dict(state or {})
        return self._result(self.run(self._steps, x, state)), state

    def unroll(
        self, x: Tensor, state: State | None = None
    ) -> tuple[list[Tensor | tuple[Tensor, ...]], State]:
        """Compute `step` for each time step; return T results and the state after them.

        Args:
            x: (T, B, ...), the order in which Darknet lays out a batch with `time_steps=T`.
            state: as in `step`.
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
        """Return every layer's output as Darknet computes it: heads after their activation."""
        outputs = self.run(self._all_steps, x, self._state)
        return [outputs[index] for index in range(len(self.plan))]

    def _result(self, outputs: dict[int, Tensor]) -> Tensor | tuple[Tensor, ...]:
        results = tuple(outputs[index] for index in self.plan.outputs)
        return results if self.plan.heads else results[0]

    def run(self, steps: Sequence[Step], x: Tensor, state: State) -> dict[int, Tensor]:
        """Return the outputs that no step drops, by layer; `state` is updated in place."""
        if is_traced(x):
            run = _explaining(_run_steps) if is_symbolic(x) else _run_steps
            shapes = self._state_shapes[self.plan.input.h, self.plan.input.w]
            return run(self.layers, steps, x, shapes, state)
        x, size = self.check(x)
        with float32_products(x.device):
            fast = x if self.training else _in_fast_layout(x, self.plan, self._values_per_weight)
            outputs = _run_steps(self.layers, steps, fast, self._state_shapes[size], state)
            return outputs if fast is x else {i: y.contiguous() for i, y in outputs.items()}

    def check(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the input, and its height and width; UsageError if shape or type is wrong."""
        expected = self.plan.input
        if not isinstance(x, Tensor):
            raise UsageError(f"input of {type(x).__name__}: must be a tensor")
        if not x.is_floating_point():
            raise UsageError(f"input of {x.dtype}: must be a float in 0..1, as x.float() / 255")
        if expected.is_vector:
            if x.dim() < 2 or math.prod(x.shape[1:]) != expected.c:
                raise UsageError(f"input {tuple(x.shape)}: must be (B, {expected.c})")
            return x.flatten(1), (0, 0)
        if x.dim() != 4 or x.shape[1] != expected.c:
            raise UsageError(f"input {tuple(x.shape)}: must be (B, {expected.c}, H, W)")
        size = (x.shape[2], x.shape[3])
        if size not in self._state_shapes:
            self._state_shapes[size] = state_shapes(self.plan.resized(*size))
        return x, size


def tie_shared(network: Network) -> None:
    """Let the layers that share another's tensors use them, once these have values."""
    for node in network.plan:
        if node.shared is not None:
            node.layer.tie(network.layers[node.index], network.layers[node.shared])


def as_network(network: Runnable) -> Network:
    """Return the argument if it is a Network.

    Raises:
        UsageError: it is an optimized one or a converted file.
    """
    if isinstance(network, Network):
        return network
    kind = type(network).__name__
    which = "a Network is needed, as load gives it for weights (the one that optimize was given)"
    raise UsageError(f"{which}, not one of type {kind}")


def _in_fast_layout(x: Tensor, plan: Plan, values_per_weight: float) -> Tensor:
    """Return x channels last, where a CPU computes it faster so; else as it is.

    values_per_weight: of all maps of an image of the plan's size.
    """
    if x.device.type != "cpu" or x.dim() != 4 or x.is_contiguous(memory_format=torch.channels_last):
        return x
    images = len(x) * x.shape[2] * x.shape[3] / (plan.input.h * plan.input.w)
    many = images * values_per_weight >= VALUES_PER_WEIGHT
    return x.contiguous(memory_format=torch.channels_last) if many else x


def _run_steps(
    layers: nn.ModuleList,
    steps: Sequence[Step],
    x: Tensor,
    shapes: dict[int, tuple[Shape, ...]],
    state: State,
) -> dict[int, Tensor]:
    """Return the outputs that no step drops; `state` is updated in place.

    shapes: of the state of each recurrent layer.
    """
    outputs = {-1: x}
    for step in steps:
        module, inputs = layers[step.index], [outputs[index] for index in step.inputs]
        if step.index in shapes:
            before = state_of(step.index, x, shapes[step.index], state)
            outputs[step.index], *after = module(*inputs, *before)
            state[step.index] = tuple(after)
        else:
            outputs[step.index] = module(*inputs)
        for index in step.drop:
            del outputs[index]
    return outputs


def _explaining(run: Callable[..., dict[int, Tensor]]) -> Callable[..., dict[int, Tensor]]:
    """Let a function that torch.fx traces raise an error that says what to do instead."""

    def call(*arguments: Any) -> dict[int, Tensor]:
        try:
            return run(*arguments)
        except (TypeError, ValueError, RuntimeError) as error:  # of which torch.fx raises all
            raise UsageError(
                "torch.fx.symbolic_trace cannot follow this network, whose layers ask for sizes;"
                " torch.export.export(network, (images,)) can"
            ) from error

    return call
