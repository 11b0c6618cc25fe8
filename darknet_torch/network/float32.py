"""How torch multiplies float32 numbers while a network runs: as Darknet does, with all their bits.

torch lets graphics cards round the factors of a convolution to TF32 (10 bits of mantissa in place
of 23), and on request those of matrix products too, on processors to bfloat16. The settings
belong to the whole process; here they hold for a network's pass only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, local
from typing import Any, Literal

import torch

from darknet_torch.network.forked import before_computing

__all__ = ["Products", "float32_products"]

Products = Literal["ieee", "tf32"]
"""How float32 numbers are multiplied: exactly, or rounded to TF32 where a graphics card can."""

EXACT = ("none", "ieee")
"""Settings with which torch rounds no factor."""

_changed = Condition()
_inside = local()


class _Passes:
    """The passes that need other settings and run now, and the settings from before them."""

    count = 0
    products: Products = "ieee"
    before: "_Settings"


@contextmanager
def float32_products(device: torch.device, products: Products = "ieee") -> Iterator[None]:
    """Multiply float32 numbers so, whatever torch's settings are; restore these afterwards.

    Inside another such block of the same thread it has no effect. Passes of several threads share
    the settings; one that needs other products waits until they are done. As every pass begins
    here, forks are noticed here, too.

    Args:
        device: what computes; the settings are those of cards, or of processors.
        products: "ieee" or "tf32".
    """
    before_computing()
    if getattr(_inside, "block", False) or _are_set(device, products):
        yield
        return
    _begin(products)
    _inside.block = True
    try:
        yield
    finally:
        _inside.block = False
        _end()


def _are_set(device: torch.device, products: Products) -> bool:
    """Return whether torch multiplies so anyway; False where a pass has set it for itself."""
    return not _Passes.count and all(_is(part, products) for part in _parts(device.type == "cpu"))


def _begin(products: Products) -> None:
    with _changed:
        _changed.wait_for(lambda: not _Passes.count or _Passes.products == products)
        if not _Passes.count:
            _Passes.before, _Passes.products = _Settings(), products
            _replace(products)
        _Passes.count += 1


def _end() -> None:
    with _changed:
        _Passes.count -= 1
        if not _Passes.count:
            _Passes.before.restore()
            _changed.notify_all()


class _Settings:
    """torch's settings of float32 products, as they are now.

    torch has older settings (`allow_tf32`, `set_float32_matmul_precision`) and newer ones
    (`fp32_precision`), and refuses to read the older where the newer contradict them. So both are
    set, the older first, as they change the newer.
    """

    def __init__(self) -> None:
        self.matmul = torch.get_float32_matmul_precision()
        self.convolution = _allows_tf32()
        self.parts = [(part, part.fp32_precision) for part in _parts(True) + _parts(False)]

    def restore(self) -> None:
        """Set them again."""
        torch.set_float32_matmul_precision(self.matmul)
        if self.convolution is not None:
            torch.backends.cudnn.allow_tf32 = self.convolution
        for part, precision in self.parts:
            if part.fp32_precision != precision:
                part.fp32_precision = precision


def _replace(products: Products) -> None:
    if _allows_tf32() is not None:
        torch.backends.cudnn.allow_tf32 = products == "tf32"
    torch.set_float32_matmul_precision("high" if products == "tf32" else "highest")
    for part in _parts(True) + _parts(False):
        if not _is(part, products):
            part.fp32_precision = products


def _is(part: Any, products: Products) -> bool:
    return (part.fp32_precision in EXACT) == (products == "ieee")


def _parts(of_processors: bool) -> list[Any]:
    """Return what has such a setting: convolutions, recurrent layers and matrix products."""
    onednn: Any = torch.backends.mkldnn
    cudnn: Any = torch.backends.cudnn
    if of_processors:
        return [onednn.conv, onednn.rnn, onednn.matmul]
    return [cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul]


def _allows_tf32() -> bool | None:
    """Return the older setting of convolutions; None where the newer contradict it."""
    try:
        return bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:
        return None
