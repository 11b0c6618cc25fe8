"""[upsample], [reorg], [reorg3d]: pixels repeated, or moved between space and channels."""

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
    """[upsample]: repeats each pixel; with a negative stride sums up blocks instead."""

    stride: int = option(2, check=bool, wanted="a number other than 0")
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
        """Repeat or sum up, then scale."""
        if self.stride > 0:
            x = F.interpolate(inputs[0], scale_factor=float(self.stride), mode="nearest")
        else:
            x = F.avg_pool2d(inputs[0], -self.stride, divisor_override=1)
        return x if self.scale == 1.0 else x * self.scale


@dataclass(frozen=True, kw_only=True)
class SpaceToDepth(Layer):
    """The shapes that [reorg] and [reorg3d] have in common."""

    stride: int = option(1, check=lambda n: n > 0, wanted="at least 1")
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
    """[reorg]: the permutation of YOLOv2, which is no per-channel space-to-depth.

    Darknet runs depth-to-space over memory that it reads as (c, h, w), and then reads the result
    as (c * s * s, h / s, w / s). `flatten` transposes channels and pixels, `extra` adds zeros.
    """

    flatten: bool = option(False, only=PJREDDIE)
    extra: int = option(0, only=PJREDDIE, check=lambda n: n >= 0, wanted="at least 0")

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape; ValueError where the memory does not divide."""
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
        if self._last_place(c, h, w) >= c * h * w:
            raise ValueError(f"stride={s}: Darknet reads outside its memory for {c} channels")
        return super().shape(*inputs)

    def _last_place(self, c: int, h: int, w: int) -> int:
        """The largest of `_places`, or a bound of it."""
        s, oc = self.stride, c // self.stride**2
        return w * s - 1 + w * s * ((h - 1) * s + (c - 1) // oc // s + h * s * (oc - 1))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Permute (B, c, h, w)."""
        x = inputs[0]
        if self.extra:
            return F.pad(x.flatten(1), (0, self.extra))
        out = self._transposed(x) if self.flatten else self._moved(x)
        return out.flatten(1).view(self._out_shape(x))  # flat first: no guard on the size

    def _out_shape(self, x: Tensor) -> tuple[int, ...]:
        batch, c, h, w = x.shape
        s = self.stride
        if self.reverse:
            return (batch, c // (s * s), h * s, w * s)
        return (batch, c * s * s, h // s, w // s)

    def _transposed(self, x: Tensor) -> Tensor:
        """Memory (c, h * w) becomes (h * w, c), or the other way round."""
        batch, c, h, w = x.shape
        if self.reverse:
            return x.reshape(batch, h * w, c).transpose(1, 2)
        return x.flatten(2).transpose(1, 2)

    def _moved(self, x: Tensor) -> Tensor:
        """out[k][j][i] = in[k % oc][j * s + (k / oc) / s][i * s + (k / oc) % s], oc = c / s / s."""
        batch, c, h, w = x.shape
        s = self.stride
        oc = c // (s * s)
        if c % (s * s):
            return self._moved_by_index(x)
        if self.reverse:
            blocks = torch.unflatten(x, 1, (s, s, oc))
            return blocks.permute(0, 3, 4, 1, 5, 2)
        blocks = x.flatten(1).view(batch, oc, h, s, w, s)
        return blocks.permute(0, 3, 5, 1, 2, 4)

    def _moved_by_index(self, x: Tensor) -> Tensor:
        """As above where s * s does not divide c: the formulas as they stand, place by place."""
        _, c, h, w = x.shape
        return x.flatten(1)[:, _places(c, h, w, self.stride, x.device)]


def _places(c: int, h: int, w: int, s: int, device: torch.device) -> Tensor:
    """For each place of memory (c, h, w), where it stands after depth has gone to space: (n,)."""
    oc = c // (s * s)
    k, j, i = torch.meshgrid(*(torch.arange(n, device=device) for n in (c, h, w)), indexing="ij")
    block = k // oc
    place = (i * s + block % s) + w * s * ((j * s + block // s) + h * s * (k % oc))
    return place.flatten()


@layer("reorg3d", only=ALEXEYAB)
class Reorg3d(SpaceToDepth):
    """[reorg3d]: true space-to-depth, channel (dy * s + dx) * c + ch.

    Darknet reverses it with the sizes of the output where those of the input belong: memory is read
    as (c / s / s, h * s, w * s), goes from depth to space, and is read so again.
    """

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape; ValueError where Darknet could not divide."""
        c, h, w = inputs[0].map()
        s = self.stride
        if not self.reverse and (h % s or w % s):
            raise ValueError(f"stride={s}: does not divide {w} x {h} pixels")
        if self.reverse and c < s**4:
            raise ValueError(f"stride={s}, reverse=1: needs at least {s**4} channels, not {c}")
        return super().shape(*inputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Move (B, c, h, w) to (B, c * s * s, h / s, w / s), or as told above."""
        return self._reversed(inputs[0]) if self.reverse else self._moved(inputs[0])

    def _moved(self, x: Tensor) -> Tensor:
        s = self.stride
        columns = torch.unflatten(x, 3, (-1, s))
        blocks = torch.unflatten(columns, 2, (-1, s))  # (B, c, h, dy, w, dx)
        return blocks.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)

    def _reversed(self, x: Tensor) -> Tensor:
        s = self.stride
        batch, c, h, w = x.shape[0], x.shape[1] // s**2, x.shape[2] * s, x.shape[3] * s
        memory = x.flatten(1)[:, : c * h * w]
        if c % s**2:
            moved = self._moved_by_index(memory, c, h, w)
        else:
            blocks = memory.view(batch, s, s, c // s**2, h, w)
            moved = blocks.permute(0, 3, 4, 1, 5, 2).flatten(1)
        return moved.view(batch, c, h, w)

    def _moved_by_index(self, memory: Tensor, c: int, h: int, w: int) -> Tensor:
        """Where places are written twice the later value stays, where none is written a zero."""
        places = _places(c, h, w, self.stride, memory.device)
        order = torch.arange(len(places), device=memory.device)
        source = torch.full_like(order, len(places)).scatter_reduce(
            0, places, order, "amax", include_self=False
        )
        return F.pad(memory, (0, 1))[:, source]
