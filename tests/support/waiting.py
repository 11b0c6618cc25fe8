"""Find the operations for which Python must wait for a graphics card."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = {"nonzero", "_local_scalar_dense", "masked_select", "unique_consecutive", "_unique2"}
"""Operations whose result, or whose size, Python needs to go on."""


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        masks = name.startswith("index") and any(
            each.dtype == torch.bool
            for arg in args
            if isinstance(arg, list | tuple)
            for each in arg
            if isinstance(each, torch.Tensor)
        )
        if name in WAITS or masks or func is torch.ops.aten.repeat_interleave.Tensor:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def waits() -> Iterator[list[str]]:
    """Yield a list that gets the name of each operation that waits."""
    with _Recorder() as recorder:
        yield recorder.found
