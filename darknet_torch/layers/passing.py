"""[dropout], [silence], [crop], [history]: layers that pass their input on, or a part of it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.layers.base import Layer, Shape, layer
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import option


@layer("dropout")
class Dropout(Layer):
    """[dropout]: nothing happens at inference."""

    probability: float = option(0.5, in_fork={ALEXEYAB: 0.2})
    dropblock: bool = option(False, only=ALEXEYAB)
    dropblock_size_rel: float = option(0.0, only=ALEXEYAB)
    dropblock_size_abs: int = option(0, only=ALEXEYAB)


@layer("silence", "empty", "blank", only=ALEXEYAB)
class Silence(Layer):
    """[silence], [empty]: nothing happens."""


@layer("crop")
class Crop(Layer):
    """[crop]: centre of the picture, its values moved from 0..1 to -1..1 unless `noadjust`."""

    crop_height: int = option(1, check=lambda n: n > 0, wanted="at least 1")
    crop_width: int = option(1, check=lambda n: n > 0, wanted="at least 1")
    noadjust: bool = option(False)
    flip: bool = option(False)
    angle: float = option(0.0)
    saturation: float = option(1.0)
    exposure: float = option(1.0)
    shift: float = option(0.0)

    def shape(self, *inputs: Shape) -> Shape:
        """Return (c, crop_height, crop_width)."""
        c, h, w = inputs[0].map()
        if self.crop_height > h or self.crop_width > w:
            raise ValueError(f"cannot crop {self.crop_width} x {self.crop_height} from {w} x {h}")
        return Shape(c, self.crop_height, self.crop_width)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Cut out the centre."""
        x = inputs[0]
        top = (x.shape[2] - self.crop_height) // 2
        left = (x.shape[3] - self.crop_width) // 2
        rows = torch.arange(self.crop_height, device=x.device) + top
        columns = torch.arange(self.crop_width, device=x.device) + left
        x = x[:, :, rows[:, None], columns]  # a slice would tie exported programs to one size
        return x if self.noadjust else x * 2 - 1


@layer("history", only=ALEXEYAB)
class History(Layer):
    """[history]: (B, c, h, w) -> (B, c * history_size, h, w).

    With one time step, as at inference, Darknet fills the first c channels; the rest is 0.
    """

    history_size: int = option(4, check=lambda n: n > 0, wanted="at least 1")

    def shape(self, *inputs: Shape) -> Shape:
        """Return (c * history_size, h, w)."""
        c, h, w = inputs[0].map()
        return Shape(c * self.history_size, h, w)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Append zeros."""
        x = inputs[0]
        return F.pad(x, (0, 0, 0, 0, 0, x.shape[1] * (self.history_size - 1)))
