"""[crop]: the centre of the image."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from darknet_torch.layers.base import Function, Layer, Shape
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.options import option


@layer("crop")
class Crop(Layer):
    """[crop]: centre of the image, its values scaled from 0..1 to -1..1 unless `noadjust`.

    In training the place is random, the same for a whole batch, and with `flip` every second batch
    is mirrored.
    """

    takes_smaller_images: ClassVar[bool] = False

    crop_height: int = option(1, check=lambda n: n > 0, expected="at least 1")
    crop_width: int = option(1, check=lambda n: n > 0, expected="at least 1")
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

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the module, which chooses a random place in training mode only."""
        return _Crop(self)

    def training_phase(self, seen: int) -> int | None:
        """Return None: each pass crops at another place."""
        return None

    def forward(self, *inputs: Tensor) -> Tensor:
        """Crop the centre of (B, c, h, w)."""
        x = inputs[0]
        return self.crop(
            x, (x.shape[2] - self.crop_height) // 2, (x.shape[3] - self.crop_width) // 2
        )

    def plain(self, *shapes: Shape) -> Callable[[Tensor], Tensor]:
        """Return the crop of the centre as a slice."""
        return self._centre

    def _centre(self, x: Tensor) -> Tensor:
        top, left = (x.shape[2] - self.crop_height) // 2, (x.shape[3] - self.crop_width) // 2
        x = x[:, :, top : top + self.crop_height, left : left + self.crop_width]
        return x if self.noadjust else x * 2 - 1

    def crop(self, x: Tensor, top: int, left: int) -> Tensor:
        """Return the part of (B, c, h, w) from a row and a column on."""
        rows = torch.arange(self.crop_height, device=x.device) + top
        columns = torch.arange(self.crop_width, device=x.device) + left
        x = x[:, :, rows[:, None], columns]  # a slice would tie exported programs to one size
        return x if self.noadjust else x * 2 - 1


class _Crop(Function):
    """Crops a random part in training mode, else the centre."""

    def __init__(self, layer: Crop) -> None:
        super().__init__(layer)
        self.crop = layer

    def forward(self, *inputs: Tensor) -> Tensor:
        if not self.training:
            return super().forward(*inputs)
        x, crop = inputs[0], self.crop
        top = int(torch.randint(x.shape[2] - crop.crop_height + 1, ()))
        left = int(torch.randint(x.shape[3] - crop.crop_width + 1, ()))
        x = crop.crop(x, top, left)
        return x.flip(3) if crop.flip and bool(torch.randint(2, ())) else x
