"""A network of which one layer may be in 8 bits, and labelled images to calibrate it with."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from small_network import CFG

import darknet_torch as dt

__all__ = ["DEEPER", "draw_labelled_images", "three_convolutions"]

DEEPER = CFG.replace(
    "[convolutional]\nfilters=14",
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=leaky\n"
    "[convolutional]\nfilters=14",
)
"""Three convolutions, of which the second may be in 8 bits."""


def three_convolutions() -> dt.Network:
    """Return a network of DEEPER with random values."""
    torch.manual_seed(2)
    return dt.build(DEEPER, dialect="alexeyab")


def draw_labelled_images(folder: Path) -> Path:
    """Write five images of noise, with a label each, into a new folder, and return it."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        pixels = rng.integers(0, 256, (50 + number, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("0 .5 .5 .4 .4\n")
    return folder
