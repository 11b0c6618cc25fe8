"""Whether a compiler or a tracer runs a network, to which sizes and branches are constants."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from darknet_torch.layers.base import Shape

__all__ = ["HasPlainForm", "Replaced", "is_jit_traced", "is_symbolic", "is_traced"]


@runtime_checkable
class HasPlainForm(Protocol):
    """A layer that says its computation once more, for converters that cannot follow `forward`."""

    def plain(self, *shapes: Shape) -> Callable[[Tensor], Tensor] | None:
        """Return what computes the same for one image of one size; None where `forward` must.

        It has no tensors of more than four dimensions, and all sizes are constants.
        """


class Replaced(TorchFunctionMode):
    """While it is entered, functions of torch are computed by others, and traced as those.

    Args:
        functions: what is replaced -> what is called with the same arguments in its place.
    """

    def __init__(self, functions: Mapping[Callable[..., Any], Callable[..., Any]]) -> None:
        super().__init__()
        self.functions = functions

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute a function of torch, see `torch.overrides`."""
        return self.functions.get(func, func)(*args, **(kwargs or {}))


def is_traced(x: object) -> bool:
    """Return whether a compiler or tracer is running: sizes may be symbolic then.

    Comparing symbolic sizes would tie the traced program to one size.
    """
    return torch.compiler.is_compiling() or is_jit_traced() or is_symbolic(x)


def is_jit_traced() -> bool:
    """Return whether torch.jit.trace is running."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def is_symbolic(x: object) -> bool:
    """Return whether x stands for a tensor in torch.fx.symbolic_trace."""
    return isinstance(x, torch.fx.Proxy)
