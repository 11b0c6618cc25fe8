"""Changes of hue, saturation and brightness, as Darknet makes them.

Source: Darknet's image.c (distort_image, rgb_to_hsv, hsv_to_rgb).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from darknet_torch.heads.base import constant
from darknet_torch.images.kernels import working_kernels

__all__ = ["Colour", "distort", "distort_batch"]

KERNELS = "darknet_torch.training.image_kernel"

BLOCK = 1 << 17
"""Pixels of a uint8 image that are changed at a time: what is in between stays in the cache."""
CIRCLE = 1 << 16
"""Steps of the hue of a uint8 image: additions of int16 go round the circle by themselves."""
THIRD = 21846
"""Steps from one primary colour to the next, an even number, see `_distorted_bytes`."""
SIXTH = THIRD // 2
NEARLY_RED = 0.1
"""Steps of the hue that rounding may change."""
STRONGEST = 10
"""Times that the steps of the hue are fine enough for a difference of one level."""


class Colour(NamedTuple):
    """A change of colour.

    Attributes:
        hue: added to the hue, which is 0..1.
        saturation: factor.
        exposure: factor of the brightness.
    """

    hue: float = 0.0
    saturation: float = 1.0
    exposure: float = 1.0


def distort(
    image: Tensor,
    hue: float | Tensor,
    saturation: float | Tensor,
    exposure: float | Tensor,
) -> Tensor:
    """Change the colours of RGB images, (..., 3, H, W) on any device, as Darknet does in HSV.

    Args:
        image: uint8, or float in 0..1.
        hue: see `Colour`; a tensor (..., 1, 1) has one for each image.
        saturation: the same.
        exposure: the same.

    Returns:
        Float images as Darknet computes them; uint8 images that differ by one level at most.
    """
    if image.dtype != torch.uint8:
        return _distorted(image, hue, saturation, exposure).clamp_(0, 1)
    is_one = not any(isinstance(each, Tensor) for each in (hue, saturation, exposure))
    colour = Colour(float(hue), float(saturation), float(exposure)) if is_one else None
    if image.device.type != "cpu" or colour is None or not _is_moderate(colour):
        return _levels(_distorted(image.float(), hue, saturation, exposure))
    out = torch.empty_like(image, memory_format=torch.contiguous_format)
    rows = max(1, BLOCK // image.shape[-1])
    whole = image.contiguous()  # by channel, which is faster than to read every third byte
    for part, into in zip(whole.split(rows, dim=-2), out.split(rows, dim=-2), strict=True):
        _distort_bytes(part, colour, into)
    return out


def distort_batch(images: Tensor, colours: Tensor) -> Tensor:
    """Change the colours of each image of a batch, as `distort` does.

    Args:
        images: (B, 3, H, W) uint8.
        colours: (B, 3) float32, a `Colour` each, on the device of the images.

    Returns:
        (B, 3, H, W) uint8, by one kernel where there is Triton.
    """
    kernels = working_kernels(KERNELS, images.device, _agree)
    if kernels is not None:
        changed: Tensor = kernels.distort(images, colours)
        return changed
    return distort(images, *colours[:, :, None, None].unbind(1))


def _agree(kernels: Any, device: torch.device) -> bool:
    """Return whether a kernel changes some images as torch's operations do, to one level."""
    levels = torch.arange(3 * 512, device=device).view(2, 3, 16, 16) * 37 % 256
    images = levels.to(torch.uint8)
    colours = torch.tensor([[0.1, 1.5, 1.5], [-0.07, 1 / 1.3, 1 / 1.4]], device=device)
    wanted = distort(images, *colours[:, :, None, None].unbind(1))
    return bool((kernels.distort(images, colours).int() - wanted.int()).abs().max() <= 1)


def _is_moderate(colour: Colour) -> bool:
    """Return whether `_distort_bytes` is exact enough for a change."""
    strongest = colour.exposure * max(colour.saturation, 1)
    return abs(colour.hue) <= 1 and 0 <= strongest <= STRONGEST


def _distorted(
    image: Tensor, hue: float | Tensor, saturation: float | Tensor, exposure: float | Tensor
) -> Tensor:
    """Change the colours of values from 0 to any maximum, which the result may exceed."""
    red, green, blue = image.unbind(-3)
    value = image.amax(dim=-3)
    span = value - image.amin(dim=-3)
    is_red, is_green = _where(torch.eq, red, value), _where(torch.eq, green, value)
    turn = torch.lerp(red - green, blue - red, is_green)
    torch.lerp(turn, green - blue, is_red, out=turn)
    start = is_green.mul_(-2).add_(4)  # of blue 4, of green 2, of red 0
    start.addcmul_(start, is_red, value=-1)
    turn.div_(span.clamp(min=1e-12)).add_(start)
    turn.add_(_where(torch.lt, turn, 0), alpha=6).div_(6).add_(hue)
    sixths = turn - _where(torch.gt, turn, 1)
    sixths.add_(_where(torch.lt, turn, 0)).mul_(6)
    middle, start, sign = (
        constant(each, image).view(3, 1, 1) for each in ((3, 2, 4), (2, -1, -1), (-1, 1, 1))
    )
    shares = (sixths.unsqueeze(-3) - middle).abs_()
    shares = torch.addcmul(start, shares, sign)
    shares.select(-3, 2).mul_(_where(torch.ne, turn, 1))  # what Darknet takes for magenta
    strength = span.div_(value.clamp(min=1e-12)).mul_(saturation)
    value = value * exposure
    strength *= value
    value, strength = value.unsqueeze(-3), strength.unsqueeze(-3)
    return torch.addcmul(value, strength, shares.clamp_(0, 1), value=-1)


def _where(compare: Callable[..., Tensor], values: Tensor, other: Tensor | float) -> Tensor:
    """Return 1 where a comparison holds, else 0; bool and torch.where are ten times slower."""
    return compare(values, other, out=torch.empty_like(values))


def _levels(image: Tensor) -> Tensor:
    """Round to uint8, by way of int16: a float becomes a uint8 three times as slowly."""
    return image.add_(0.5).clamp_(0, 255).short().to(torch.uint8)


def _distort_bytes(image: Tensor, colour: Colour, out: Tensor) -> None:
    """Write a uint8 image with other colours; as far as it goes in integers, which are fast.

    A channel is `value - strength * share`: the share is 0 for a hue up to a sixth of the circle
    away from the channel's own, and 1 from two sixths on.
    """
    red, green, blue = image.unbind(-3)
    higher, lower = torch.maximum(green, blue), torch.minimum(green, blue)
    value = torch.maximum(red, higher)
    span = value - torch.minimum(red, lower)
    # the way from red in sixths, times the span: (higher - lower), and from yellow or magenta on
    # also (value - red), and from green or blue on twice what red is below the lower one
    away = (higher - lower).short().add_(value - red)
    away.add_(torch.maximum(red, lower).sub_(red), alpha=2)
    away.addcmul_(away, _where(torch.lt, green.short(), blue.short()), value=-2)  # backwards
    strength = span.float()
    turn = away.float().div_(strength + 1e-6).mul_(CIRCLE / 6).add_(colour.hue % 1 * CIRCLE)
    # odd, and so never half a circle from a channel's hue, the absolute value of which overflows
    hue = turn.int().short().bitwise_or_(1)
    strength.mul_(colour.saturation * colour.exposure / SIXTH)
    # half a level more: what follows is cut off, not rounded
    bright = value.float().mul_(colour.exposure).add_(strength, alpha=SIXTH).add_(0.5)
    for channel, own in enumerate((0, THIRD, -THIRD)):
        distance = (hue - own).abs_().clamp_(SIXTH, 2 * SIXTH).float()
        changed = torch.addcmul(bright, strength, distance, value=-1, out=distance)
        out.select(-3, channel).copy_(changed.short().clamp_(0, 255))
    if colour.hue:
        _redo_magenta(image, turn, colour, out)


def _redo_magenta(image: Tensor, turn: Tensor, colour: Colour, out: Tensor) -> None:
    """Change those pixels again whose new hue may be exactly 1, which Darknet takes for magenta.

    To find them in two steps takes a tenth of the time.
    """
    near = np.flatnonzero((turn.int().short() + 1).numpy().view(np.uint16) <= 2)
    turned = turn.numpy().ravel()[near]
    near = near[np.abs(turned - np.round(turned / CIRCLE) * CIRCLE) < NEARLY_RED]
    if not near.size:
        return
    places = torch.unravel_index(torch.from_numpy(near), turn.shape)
    index: tuple[slice | Tensor, ...] = (slice(None), *places)
    pixels = image.movedim(-3, 0)[index][..., None].float()
    out.movedim(-3, 0)[index] = _levels(_distorted(pixels, *colour))[..., 0]
