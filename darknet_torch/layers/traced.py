"""Whether a compiler or a tracer runs a network, to which sizes and branches are constants."""

import torch

__all__ = ["is_jit_traced", "is_symbolic", "is_traced"]


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
