"""How many operations a card would have to launch for some code: counted, not timed."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

__all__ = ["CountedOperations", "as_on_a_card"]

NO_LAUNCH = {"profiler", "promote_types", "empty", "new_empty", "empty_like", "_unsafe_view"}
"""Parts of names of operations that leave a card alone."""


class CountedOperations(TorchDispatchMode):
    """Counts operations; views are none, and one that is given many tensors is one.

    Attributes:
        found: number of each operation by its name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operation and compute it."""
        name = str(func).removeprefix("aten.")
        if not (_is_view(func) or name.partition(".")[0] in NO_LAUNCH):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.found.values())


def _is_view(func: Any) -> bool:
    returned = [each.alias_info for each in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in returned)


@contextmanager
def as_on_a_card(modules: list[ModuleType]) -> Iterator[None]:
    """Let rows of padding go along and constants be kept, as on a card, in some modules.

    Args:
        modules: of the package, which call `packs`, `constant`, `kept` or `numbers`.
    """
    replaced: dict[str, Callable[..., Any]] = {
        "packs": lambda _: False,
        "constant": _constant,
        "kept": lambda make, *arguments, like: _kept(make, arguments),
        "numbers": lambda count, _: _kept(torch.arange, (count,)),
    }
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            for name, function in replaced.items():
                if hasattr(module, name):
                    patch.setattr(module, name, function)
        yield


def _constant(values: Any, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return _kept(_made, (_tuples(values), like.dtype if dtype is None else dtype))


def _made(values: Any, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, dtype=dtype)


def _tuples(values: Any) -> Any:
    return tuple(map(_tuples, values)) if isinstance(values, list | tuple | range) else values


@cache
def _kept(make: Callable[..., Tensor], arguments: tuple[Any, ...]) -> Tensor:
    with _disable_current_modes():
        return make(*arguments)
