"""Forward and backward passes of mini-batches, recorded on a graphics card: one launch each.

A pass launches a thousand kernels, and a processor may take longer to launch them than a card to
compute. What is recorded launches all of them at once, with the same numbers. It has fixed shapes,
reads images and ground truth from memory of its own, and adds to gradients that stay in place.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from darknet_torch.errors import warn
from darknet_torch.network.cuda_graph import CudaGraph

__all__ = ["PassFigures", "RecordedPasses"]

OFTEN = 3
"""Passes of a kind that are launched kernel by kernel before one is recorded."""
MOST_KINDS = 64
"""Most kinds of passes that are recorded: sizes of images, numbers of objects."""
SHARE = 0.8
"""Share of a card's memory that passes may take twice: launched one by one, and recorded."""
CLOSE = 0.05
"""Largest difference between figures of a recorded pass and those of the same one before, relative
to the largest: sums on a card have any order, and activations few digits."""


class PassFigures(NamedTuple):
    """The figures of a pass.

    Attributes:
        names: of the figures, and the index of the layer that each is of.
        values: (N,) without gradient, the figures.
    """

    names: tuple[tuple[int, str], ...]
    values: Tensor


Pass = Callable[..., PassFigures]


class RecordedPasses:
    """Passes of a module's mini-batches; those that come often are recorded.

    Args:
        module: on a graphics card; it has the parameters that get gradients.
    """

    def __init__(self, module: nn.Module) -> None:
        self._parameters = [each for each in module.parameters() if each.requires_grad]
        self._buffers = list(module.buffers())
        self._norms = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
        self._graphs: dict[object, tuple[CudaGraph, PassFigures]] = {}
        self._gradients: dict[nn.Parameter, Tensor] = {}
        self._counts = Counter[object]()
        self._pool: Any = None
        self._gave_up = False

    def begin(self) -> None:
        """Begin a batch; the parameters have no gradients yet."""
        if self._graphs:
            torch._foreach_zero_(list(self._gradients.values()))
            self._use(self._gradients)

    def __call__(self, kind: object, inputs: Sequence[Tensor], run: Pass) -> PassFigures:
        """Compute a pass, and add its gradients to those of the parameters.

        Args:
            kind: equal for passes of inputs of the same shapes that launch the same kernels; None:
                no other pass does.
            inputs: on the card; all that `run` depends on, besides `kind` and the module.
            run: the pass; it waits for nothing.
        """
        if kind is not None:
            momenta = tuple(norm.momentum for norm in self._norms)
            kind = kind, momenta, *((each.shape, each.dtype) for each in inputs)
        if kind in self._graphs:
            graph, figures = self._graphs[kind]
            return figures._replace(values=graph(*inputs)[0].clone())
        return self._recorded(kind, inputs, run) if self._is_due(kind) else run(*inputs)

    def make_room(self) -> bool:
        """Forget what is recorded, so that others have its memory; return whether there was any."""
        had_some = bool(self._graphs)
        if had_some:
            self._give_up("they take memory that others need")
        return had_some

    def _is_due(self, kind: object) -> bool:
        """Count a pass, and return whether it is to be recorded."""
        if kind is None or self._gave_up or len(self._graphs) >= MOST_KINDS:
            return False
        self._counts[kind] += 1
        return self._counts[kind] > OFTEN

    def _recorded(self, kind: object, inputs: Sequence[Tensor], run: Pass) -> PassFigures:
        """Compute a pass kernel by kernel, then record it for those that follow."""
        before, random = self._now(), torch.cuda.get_rng_state(inputs[0].device)
        self._use({})
        figures = run(*inputs)
        fresh, statistics = self._now(), [each.clone() for each in self._buffers]
        total = {p: g.clone() for p, g in before.items() if p not in fresh}
        total |= {p: before[p] + g if p in before else g for p, g in fresh.items()}
        torch.cuda.set_rng_state(random, inputs[0].device)
        try:
            self._record(kind, inputs, run, figures, fresh)
        except RuntimeError as error:
            self._give_up((str(error).strip() or type(error).__name__).splitlines()[0])
        for each, value in zip(self._buffers, statistics, strict=True):
            each.copy_(value)
        self._use(total)
        if self._graphs:
            for parameter, own in self._gradients.items():
                own.copy_(total[parameter]) if parameter in total else own.zero_()
            self._use(total | self._gradients)
        return figures

    def _record(
        self,
        kind: object,
        inputs: Sequence[Tensor],
        run: Pass,
        wanted: PassFigures,
        gradients: dict[nn.Parameter, Tensor],
    ) -> None:
        """Record a pass, if there is memory for it and it yields the wanted figures.

        Raises:
            RuntimeError: it cannot be recorded, or yields others.
        """
        device = inputs[0].device
        memory = torch.cuda.get_device_properties(device).total_memory
        if 2 * torch.cuda.max_memory_allocated(device) > SHARE * memory:
            raise RuntimeError("there is not enough memory for them")
        for parameter in gradients:
            self._gradients.setdefault(parameter, torch.zeros_like(parameter))
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        self._use(self._gradients)
        own = [each.clone() for each in inputs]
        graph = CudaGraph(lambda *x: (run(*x).values,), own, warm=0, pool=self._pool)
        torch._foreach_zero_(list(self._gradients.values()))
        (values,) = graph(*inputs)
        found = torch.stack((*values, _norm(self._gradients)))
        expected = torch.stack((*wanted.values, _norm(gradients)))
        if not bool(expected.isfinite().all()):
            return  # another one will be recorded
        if float((found - expected).abs().max()) > CLOSE * float(expected.abs().max()):
            raise RuntimeError("they yield other figures")
        self._graphs[kind] = graph, wanted

    def _now(self) -> dict[nn.Parameter, Tensor]:
        """Return the gradients of all parameters that have one."""
        return {each: each.grad for each in self._parameters if each.grad is not None}

    def _use(self, gradients: dict[nn.Parameter, Tensor]) -> None:
        for each in self._parameters:
            each.grad = gradients.get(each)

    def _give_up(self, why: str) -> None:
        self._gave_up = True
        self._graphs.clear()
        torch.cuda.empty_cache()
        warn(f"passes are not recorded on the card, which makes small networks slower: {why}")


def _norm(gradients: dict[nn.Parameter, Tensor]) -> Tensor:
    return torch.nn.utils.get_total_norm(list(gradients.values()))
