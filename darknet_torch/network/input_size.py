"""Errors of the input's size that say which sizes would be right."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from darknet_torch.errors import CfgError, ShapeError
from darknet_torch.network.net_section import Net

if TYPE_CHECKING:
    from darknet_torch.network.plan import Plan

__all__ = ["raise_with_stride"]

EVEN = 128
"""Pixels of which the stride of any usual network is a divisor."""


def raise_with_stride(error: ShapeError, net: Net, plan: "Callable[[Net], Plan]") -> NoReturn:
    """Raise the error of a plan, with the stride if the input's size is no multiple of it.

    Args:
        error: of the plan.
        net: with the size of the input.
        plan: returns the plan of the same layers for another size.
    """
    wrong = _sides_off_stride(net, plan)
    if not wrong:
        raise error
    where = net.section.where()
    raise ShapeError(f"{where}: {wrong}, the network's stride ({error})") from error


def _sides_off_stride(net: Net, plan: "Callable[[Net], Plan]") -> str:
    sides = {"width": net.width, "height": net.height}
    even = {name: -(-side // EVEN) * EVEN for name, side in sides.items()}
    if even == sides or not all(sides.values()):
        return ""
    try:
        rows, columns = plan(replace(net, width=even["width"], height=even["height"])).stride
    except CfgError:
        return ""
    strides = {"width": columns, "height": rows}
    return " and ".join(
        f"{name}={side} must be a multiple of {strides[name]}"
        for name, side in sides.items()
        if side % strides[name]
    )
