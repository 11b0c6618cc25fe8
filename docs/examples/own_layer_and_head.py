"""A layer type with parameters and a head of your own, defined outside of the package.

    python docs/examples/own_layer_and_head.py

The network detects squares of one colour without any training: the layer makes colours stronger,
`local_avgpool` takes the mean of each cell, and the head takes each cell for a box and each channel
for a class. Both work like the built-in ones: build, detect, save, load, evaluate, export to ONNX.
It prints:

    layers: channel_gain, local_avgpool, color_cells
    floats in the weights file: 6
    detections: Detections(2): red 1.00, blue 1.00
    red: box 16, 16, 32, 32
    blue: box 48, 32, 64, 48
    the same from the weights file: True
    mean average precision: 1.00
    boxes from own.onnx: Detections(2): red 1.00, blue 1.00
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import darknet_torch as dt
from darknet_torch.evaluation import DetectionResult
from darknet_torch.heads.base import Cells, Head
from darknet_torch.layers import Layer, Segment, Shape, layer, option
from darknet_torch.network import Runnable

CFG = """
[net]
width=64
height=64
channels=3

[channel_gain]

[local_avgpool]
size=16
stride=16
padding=0

[color_cells]
classes=3
"""
NAMES = ("red", "green", "blue")


class Gain(nn.Module):
    """Multiply each channel of (B, C, H, W) by a number, and add another one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        return x * self.weight[:, None, None] + self.bias[:, None, None]


@layer("channel_gain")
class ChannelGain(Layer):
    """[channel_gain]: a gain and a bias for each channel; the shape stays."""

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the module with the parameters; it gets its values later."""
        return Gain(shapes[0].c)

    def weights(self, *shapes: Shape) -> Iterable[Segment]:
        """Yield the parameters in the order of the file, for reading, writing and its size."""
        yield Segment("biases", "bias", (shapes[0].c,))
        yield Segment("scales", "weight", (shapes[0].c,))


@layer("color_cells")
class ColorCells(Head):
    """[color_cells]: each cell of the map is a box, each channel the logit of a class."""

    classes: int = option(1, check=lambda n: n > 0, expected="at least 1")

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the map; a ValueError gets the file and the line of the section."""
        if inputs[0].c != self.classes:
            raise ValueError(f"{self.classes} classes need as many channels, not {inputs[0].c}")
        return inputs[0]

    def maps(self, raw: Tensor) -> Tensor:
        """View the raw map (B, C, H, W) as (B, anchors, entries, H, W): there is one anchor."""
        return raw[:, None]

    def boxes(self, entries: Tensor, cells: Cells) -> Tensor:
        """Return the cells as boxes (..., 4), cxcywh in fractions of the network's input."""
        height, width = cells.grid
        x, y = (cells.x + 0.5) / width, (cells.y + 0.5) / height
        cell = torch.stack(
            (x, y, torch.full_like(x, 1 / width), torch.full_like(y, 1 / height)), -1
        )
        return cell.to(entries.dtype).expand(*entries.shape[:-1], 4)

    def objectness_entry(self) -> int:
        """Return an entry for `objectness`, which needs none here."""
        return 0

    def objectness(self, entry: Tensor) -> Tensor:
        """Return 1: only the classes decide."""
        return torch.ones_like(entry)

    def scores(self, entries: Tensor, objectness: Tensor) -> Tensor:
        """Return the probability of each class (..., C)."""
        return torch.sigmoid(entries)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return what `Network.activations` shows of this layer."""
        return torch.sigmoid(inputs[0])


def squares() -> Image.Image:
    """Return a black image with a red square and a blue one, each 16 pixels wide."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[16:32, 16:32, 0] = 255
    pixels[32:48, 48:64, 2] = 255
    return Image.fromarray(pixels)


def write_dataset(folder: Path) -> Path:
    """Write a data set of one image: `class x y w h` of each square, in fractions."""
    folder.mkdir(exist_ok=True)
    squares().save(folder / "squares.png")
    (folder / "squares.txt").write_text("0 .375 .375 .25 .25\n2 .875 .625 .25 .25\n")
    (folder / "data.yaml").write_text(f"val: squares.png\nnames: [{', '.join(NAMES)}]\n")
    return folder / "data.yaml"


def detected(network: Runnable) -> dt.Detections:
    """Return the detections of the image with the squares."""
    detections = dt.detect(network, squares())
    assert isinstance(detections, dt.Detections)
    return detections


def main() -> None:
    """Build, detect, save and load, evaluate, export."""
    Path("own.names").write_text("\n".join(NAMES))
    model = dt.build(CFG, names="own.names")
    print(f"layers: {', '.join(node.name for node in model.plan)}")
    print(f"floats in the weights file: {model.plan.floats}")

    gain, bias = torch.full((3,), 20.0), torch.full((3,), -10.0)
    model.load_state_dict({"layers.0.weight": gain, "layers.0.bias": bias})
    detections = detected(model)
    print(f"detections: {detections}")
    for box, _, _, name in detections:
        print(f"{name}: box {', '.join(f'{side:.0f}' for side in box)}")

    dt.save(model, "own.weights")
    again = dt.load(CFG, "own.weights", names="own.names")
    print(f"the same from the weights file: {repr(detected(again)) == repr(detections)}")

    result = dt.evaluate(model, write_dataset(Path("squares")))
    assert isinstance(result, DetectionResult)
    print(f"mean average precision: {result.voc.map10:.2f}")

    dt.export(model, "own.onnx", contents="boxes")
    print(f"boxes from own.onnx: {detected(dt.load('own.onnx'))}")


if __name__ == "__main__":
    main()
