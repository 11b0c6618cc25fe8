"""A graphics card that is not there: tensors that say they lie on it, and are computed on the CPU.

It refuses what a real card refuses: an operation on a tensor of the card and one of the CPU. And it
counts how often the CPU would have to wait for the card. Its device is called "card".
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from darknet_torch.inference import streaming

__all__ = ["CAN_BE", "FROM_CPU", "Card", "CardTensor", "from_card", "moved", "pretended_card"]

NAME = "card"
CAN_BE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
"""Whether this torch, which calls that experimental, has what is needed."""
_TENSOR = torch.tensor
aten = torch.ops.aten
COPIES = {
    aten.copy_.default,
    aten._to_copy.default,
    aten.to.device,
    aten.to.dtype_layout,
    aten.to.other,
}
TAKES_INDICES = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}
"""Operations whose indices may lie on the CPU: torch copies them."""
WAITS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    aten.repeat_interleave.Tensor,
    aten.bincount.default,
}
"""Operations whose result, or its size, the CPU waits for."""

FROM_CPU = "copy from the CPU"
"""In `Card.waits`: a copy that is not `non_blocking`."""

_CARDS: list["Card"] = []
"""Those that are there now."""


class CardTensor(Tensor):
    """A tensor of the card; `inner` has its values, on the CPU."""

    inner: Tensor
    is_cuda = True  # so that it goes the ways of a card

    @staticmethod
    def __new__(cls, inner: Tensor) -> "CardTensor":
        """Return a tensor with the sizes and strides of `inner`."""
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
            requires_grad=inner.requires_grad,
        )
        made.inner = inner
        return made

    def __repr__(self, **_: Any) -> str:
        return f"CardTensor({list(self.shape)}, {self.dtype})"

    def tolist(self) -> Any:
        """Return the values, which the CPU waits for."""
        if _CARDS:
            _CARDS[-1].waits["tolist"] += 1
        return self.inner.tolist()

    def new_tensor(self, data: Any, **settings: Any) -> Tensor:
        """Return a tensor of the card; torch makes it where no mode sees it."""
        return _tensor(data, **{"dtype": self.dtype, "device": self.device} | settings)

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Compute as the card would."""
        return _computed(func, args, kwargs or {}, Counter())


class Card(TorchDispatchMode):
    """Where the card is there: a device that tensors can be made on.

    Attributes:
        waits: how often the CPU waited for the card, by operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def enter_thread(self) -> None:
        """Let it be there in another thread too; each has its own modes."""
        mode = Card()
        mode.waits = self.waits
        mode.__enter__()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Compute as the card or as the CPU, wherever the tensors are."""
        return _computed(func, args, kwargs or {}, self.waits)


def _computed(func: Any, args: Any, kwargs: dict[str, Any], waits: Counter[str]) -> Any:
    leaves = tree_flatten((args, kwargs))[0]
    mine = [each for each in leaves if isinstance(each, CardTensor)]
    devices = [each.type for each in leaves if isinstance(each, torch.device)]
    here = NAME in devices if devices else bool(mine)
    is_copy = func in COPIES
    if mine and not is_copy:
        _refuse_others(func, args, kwargs)
    if mine and (func in WAITS or (is_copy and not _stays(func, args, here))):
        waits[str(func)] += 1
    elif mine and func in TAKES_INDICES and any(map(_is_mask, tree_flatten(args[1])[0])):
        waits[f"{func} of a mask"] += 1
    elif is_copy and here and _is_brought(func, args, kwargs):
        waits[FROM_CPU] += 1
    known = {id(each.inner): each for each in mine}
    if "pin_memory" in kwargs:
        kwargs = {**kwargs, "pin_memory": False}
    result = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))

    def outer(each: Any) -> Any:
        if not isinstance(each, Tensor):
            return each
        if id(each) in known and here:
            return known[id(each)]
        return CardTensor(each) if here else each.clone() if id(each) in known else each

    return tree_map(outer, result)


def _refuse_others(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """Raise AssertionError for a tensor of the CPU that is no single number."""
    checked = (args[0], args[2:]) if func in TAKES_INDICES else (args, kwargs)
    for each in tree_flatten(checked)[0]:
        if isinstance(each, Tensor) and not isinstance(each, CardTensor) and each.dim():
            raise AssertionError(f"{func}: a tensor {list(each.shape)} of the CPU with the card's")


def _stays(func: Any, args: Sequence[Any], here: bool) -> bool:
    """Return whether a copy of a tensor of the card stays there, or comes from the CPU."""
    if func is aten.copy_.default:
        return isinstance(args[0], CardTensor) or not isinstance(args[1], CardTensor)
    return here


def _is_mask(index: Any) -> bool:
    """Return whether it picks as many elements as it has that are true."""
    return isinstance(index, CardTensor) and index.dtype in (torch.bool, torch.uint8)


def _is_brought(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Return whether a copy brings a tensor from the CPU, and waits until it is there."""
    is_copy_into = func is aten.copy_.default
    source = args[1] if is_copy_into else args[0]
    waits = not (kwargs.get("non_blocking") or (is_copy_into and len(args) > 2 and args[2]))
    return waits and isinstance(source, Tensor) and not isinstance(source, CardTensor)


def _inner(each: Any) -> Any:
    if isinstance(each, torch.device):
        return torch.device("cpu")
    return each.inner if isinstance(each, CardTensor) else each


def moved(network: nn.Module) -> nn.Module:
    """Put the parameters and buffers of a network onto the card."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                made = CardTensor(parameter.detach())
                module._parameters[name] = nn.Parameter(made, parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = CardTensor(buffer)
    return network


def from_card(value: Any) -> Any:
    """Return the values of tensors of the card, in anything that holds some."""
    return tree_map(_inner, value)


@contextmanager
def pretended_card() -> Iterator[Card]:
    """Let the device "card" be there, until the block ends; the name stays for the process."""
    if backend_registration._get_privateuse1_backend_name() != NAME:
        backend_registration._setup_privateuseone_for_python_backend(NAME)
        torch.get_device_module(NAME).is_available = lambda: False  # for the tests after this one
    with Card() as card, patch.object(torch, "tensor", _tensor), ExitStack() as stack:
        pool = partial(streaming.Pool, initializer=card.enter_thread)
        stack.enter_context(patch.object(streaming, "Pool", pool))
        _CARDS.append(card)
        try:
            yield card
        finally:
            _CARDS.pop()


def _tensor(data: Any, **settings: Any) -> Tensor:
    """Do what `torch.tensor` does: it makes its tensor where no mode sees it."""
    device = settings.pop("device", None)
    made = _TENSOR(data, **settings)
    return made if device is None else made.to(device)
