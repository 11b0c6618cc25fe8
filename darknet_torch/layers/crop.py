"""[crop]: the centre of the image."""

from typing import ClassVar

import torch
from torch import Tensor

from darknet_torch.layers.base import Layer, Shape
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.options import option


@layer("crop")
class Crop(Layer):
    """[crop]: centre of the image, its values scaled from 0..1 to -1..1 unless `noadjust`."""

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

    def forward(self, *inputs: Tensor) -> Tensor:
        """Crop (B, c, h, w)."""
        x = inputs[0]
        top = (x.shape[2] - self.crop_height) // 2
        left = (x.shape[3] - self.crop_width) // 2
        rows = torch.arange(self.crop_height, device=x.device) + top
        columns = torch.arange(self.crop_width, device=x.device) + left
        x = x[:, :, rows[:, None], columns]  # a slice would tie exported programs to one size
        return x if self.noadjust else x * 2 - 1
