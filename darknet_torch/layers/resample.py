"""[upsample], [reorg], [reorg3d]: nearest upsampling, and space to depth and back."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.layers.base import Layer, Shape
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB, PJREDDIE
from darknet_torch.parsing.options import option


@layer("upsample")
class Upsample(Layer):
    """[upsample]: repeats each pixel; with a negative stride sums blocks of pixels instead."""

    stride: int = option(2, check=bool, expected="a number other than 0")
    scale: float = option(1.0)

    def shape(self, *inputs: Shape) -> Shape:
        """Return (c, h * stride, w * stride), or (c, h / -stride, w / -stride)."""
        c, h, w = inputs[0].map()
        if self.stride > 0:
            return Shape(c, h * self.stride, w * self.stride)
        if h % -self.stride or w % -self.stride:
            raise ValueError(f"stride={self.stride}: does not divide {w} x {h} pixels")
        return Shape(c, h // -self.stride, w // -self.stride)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Repeat or sum, then scale (B, c, h, w)."""
        if self.stride > 0:
            x = F.interpolate(inputs[0], scale_factor=float(self.stride), mode="nearest")
        else:
            x = F.avg_pool2d(inputs[0], -self.stride, divisor_override=1)
        return x if self.scale == 1.0 else x * self.scale

    def plain(self, *shapes: Shape) -> Callable[[Tensor], Tensor] | None:
        """Return the sum of blocks as a multiple of their mean."""
        return self._summed if self.stride < 0 else None

    def _summed(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, -self.stride) * (self.stride**2 * self.scale)


@dataclass(frozen=True, kw_only=True)
class SpaceToDepth(Layer):
    """The shapes that [reorg] and [reorg3d] have in common."""

    stride: int = option(1, check=lambda n: n > 0, expected="at least 1")
    reverse: bool = option(False)

    def shape(self, *inputs: Shape) -> Shape:
        """Return (c * s * s, h / s, w / s), or (c / (s * s), h * s, w * s) reversed."""
        c, h, w = inputs[0].map()
        s = self.stride
        if self.reverse:
            return Shape(c // (s * s), h * s, w * s)
        return Shape(c * s * s, h // s, w // s)


@layer("reorg")
class Reorg(SpaceToDepth):
    """[reorg]: the permutation of YOLOv2, which differs from space to depth.

    Darknet applies depth to space to memory that it reads as (c, h, w), and then reads the result
    as the shape (c * s * s, h / s, w / s). `flatten` transposes channels and pixels, `extra`
    appends zeros.
    """

    flatten: bool = option(False, only=PJREDDIE)
    extra: int = option(0, only=PJREDDIE, check=lambda n: n >= 0, expected="at least 0")

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape; ValueError where stride does not divide it."""
        c, h, w = inputs[0].map()
        s = self.stride
        if self.extra:
            return Shape(inputs[0].size + self.extra)
        if c < s * s:
            raise ValueError(f"stride={s}: needs at least {s * s} channels before it, not {c}")
        if not self.reverse and (h % s or w % s):
            raise ValueError(f"stride={s}: does not divide {w} x {h} pixels")
        if self.reverse and c % (s * s):
            raise ValueError(f"stride={s}: {s * s} does not divide {c} channels")
        if self._highest_index(c, h, w) >= c * h * w:
            raise ValueError(f"stride={s}: Darknet reads outside its memory for {c} channels")
        return super().shape(*inputs)

    def _highest_index(self, c: int, h: int, w: int) -> int:
        """The largest of `_depth_to_space_index`, or a bound of it."""
        s, oc = self.stride, c // self.stride**2
        return w * s - 1 + w * s * ((h - 1) * s + (c - 1) // oc // s + h * s * (oc - 1))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Permute (B, c, h, w)."""
        x = inputs[0]
        if self.extra:
            return F.pad(x.flatten(1), (0, self.extra))
        out = self._transposed(x) if self.flatten else self._rearranged(x)
        return out.flatten(1).view(
            self._out_shape(x)
        )  # flat first: no guard on the size in a traced program

    def plain(self, *shapes: Shape) -> Callable[[Tensor], Tensor] | None:
        """Return the permutation, where it is one of whole blocks."""
        other = self.flatten or self.extra or shapes[0].c % self.stride**2
        return None if other else self._permuted

    def _permuted(self, x: Tensor) -> Tensor:
        _, c, h, w = x.shape
        s = self.stride
        if self.reverse:
            return _to_space(x, s)
        memory = x.reshape(1, c // s**2, h * s, w * s)
        return _to_depth(memory, s).reshape(1, c * s**2, h // s, w // s)

    def _out_shape(self, x: Tensor) -> tuple[int, ...]:
        batch, c, h, w = x.shape
        s = self.stride
        if self.reverse:
            return (batch, c // (s * s), h * s, w * s)
        return (batch, c * s * s, h // s, w // s)

    def _transposed(self, x: Tensor) -> Tensor:
        """(c, h * w) to (h * w, c), or back."""
        batch, c, h, w = x.shape
        if self.reverse:
            return x.reshape(batch, h * w, c).transpose(1, 2)
        return x.flatten(2).transpose(1, 2)

    def _rearranged(self, x: Tensor) -> Tensor:
        """out[k][j][i] = in[k % oc][j * s + (k / oc) / s][i * s + (k / oc) % s], oc = c / s / s."""
        batch, c, h, w = x.shape
        s = self.stride
        oc = c // (s * s)
        if c % (s * s):
            return self._rearranged_by_index(x)
        if self.reverse:
            blocks = torch.unflatten(x, 1, (s, s, oc))
            return blocks.permute(0, 3, 4, 1, 5, 2)
        blocks = x.flatten(1).view(batch, oc, h, s, w, s)
        return blocks.permute(0, 3, 5, 1, 2, 4)

    def _rearranged_by_index(self, x: Tensor) -> Tensor:
        """As above where s * s does not divide c: Darknet's formula for each value."""
        _, c, h, w = x.shape
        return x.flatten(1)[:, _depth_to_space_index(c, h, w, self.stride, x.device)]


def _to_depth(x: Tensor, s: int) -> Tensor:
    """Space to depth of (1, c, h, w): pixel (dy, dx) of a block goes to channel
    (dy * s + dx) * c + ch."""
    _, c, h, w = x.shape
    h, w = h // s, w // s
    blocks = F.pixel_unshuffle(x, s).reshape(1, c, s * s, h * w)  # ch * s * s + dy * s + dx
    return blocks.transpose(1, 2).reshape(1, c * s * s, h, w)


def _to_space(x: Tensor, s: int) -> Tensor:
    """Depth to space of (1, c, h, w), the reverse of `_to_depth`."""
    _, c, h, w = x.shape
    blocks = x.reshape(1, s * s, c // s**2, h * w).transpose(1, 2)
    return F.pixel_shuffle(blocks.reshape(1, c, h, w), s)


def _depth_to_space_index(c: int, h: int, w: int, s: int, device: torch.device) -> Tensor:
    """The index in memory of each value of (c, h, w) after depth to space, (c * h * w,)."""
    oc = c // (s * s)
    k, j, i = torch.meshgrid(*(torch.arange(n, device=device) for n in (c, h, w)), indexing="ij")
    block = k // oc
    index = (i * s + block % s) + w * s * ((j * s + block // s) + h * s * (k % oc))
    return index.flatten()


@layer("reorg3d", only=ALEXEYAB)
class Reorg3d(SpaceToDepth):
    """[reorg3d]: space to depth; pixel (dy, dx) of a block goes to channel (dy * s + dx) * c + ch.

    Darknet reverses it with the sizes of the output in place of those of the input: depth to space
    is applied to memory read as the shape (c / s / s, h * s, w * s), which the output has too.
    """

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape; ValueError where stride does not divide it."""
        c, h, w = inputs[0].map()
        s = self.stride
        if not self.reverse and (h % s or w % s):
            raise ValueError(f"stride={s}: does not divide {w} x {h} pixels")
        if self.reverse and c < s**4:
            raise ValueError(f"stride={s}, reverse=1: needs at least {s**4} channels, not {c}")
        return super().shape(*inputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Rearrange (B, c, h, w) to (B, c * s * s, h / s, w / s), or back as described above."""
        return self._reversed(inputs[0]) if self.reverse else self._rearranged(inputs[0])

    def plain(self, *shapes: Shape) -> Callable[[Tensor], Tensor] | None:
        """Return the permutation, where it is one of whole blocks."""
        uneven = self.reverse and shapes[0].c % self.stride**4
        return None if uneven else self._permuted

    def _permuted(self, x: Tensor) -> Tensor:
        _, c, h, w = x.shape
        s = self.stride
        if not self.reverse:
            return _to_depth(x, s)
        shape = (1, c // s**2, h * s, w * s)
        return _to_space(x.reshape(shape), s).reshape(shape)

    def _rearranged(self, x: Tensor) -> Tensor:
        s = self.stride
        columns = torch.unflatten(x, 3, (-1, s))
        blocks = torch.unflatten(columns, 2, (-1, s))  # (B, c, h, dy, w, dx)
        return blocks.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)

    def _reversed(self, x: Tensor) -> Tensor:
        s = self.stride
        batch, c, h, w = x.shape[0], x.shape[1] // s**2, x.shape[2] * s, x.shape[3] * s
        memory = x.flatten(1)[:, : c * h * w]
        if c % s**2:
            out = self._reversed_by_index(memory, c, h, w)
        else:
            blocks = memory.view(batch, s, s, c // s**2, h, w)
            out = blocks.permute(0, 3, 4, 1, 5, 2).flatten(1)
        return out.view(batch, c, h, w)

    def _reversed_by_index(self, memory: Tensor, c: int, h: int, w: int) -> Tensor:
        """Where an index is written twice the later value stays, where never it is a zero."""
        target = _depth_to_space_index(c, h, w, self.stride, memory.device)
        order = torch.arange(len(target), device=memory.device)
        source = torch.full_like(order, len(target)).scatter_reduce(
            0, target, order, "amax", include_self=False
        )
        return F.pad(memory, (0, 1))[:, source]
