"""The sample image as a network's input, for comparisons of two ways to compute the network."""

from typing import Any

import torch
from torch import Tensor

from darknet_torch.files import cfg_folder
from darknet_torch.images.reading import read
from darknet_torch.images.resizing import resize
from darknet_torch.inference.detector import Detector
from darknet_torch.network import Network

__all__ = ["as_input", "sample_image"]


def sample_image(network: Network) -> Any:
    """Return the package's sample image; random numbers if the input has neither 1 nor 3 channels.

    Returns:
        A path, or a tensor (C, H, W) in 0..1.
    """
    shape = network.plan.input
    if shape.is_vector or shape.c in (1, 3):
        return cfg_folder() / "sample.jpg"
    return torch.rand(tuple(shape), generator=torch.Generator().manual_seed(0))


def as_input(network: Network, image: Any) -> Tensor:
    """Return an image as the network's input, (1, C, H, W) or (1, inputs) float32 on the CPU.

    Args:
        network: networks of vectors get random numbers.
        image: what `detect` takes.
    """
    shape = network.plan.input
    if network.plan.heads:
        return Detector(network).prepare(image).pixels[None]
    if shape.is_vector:
        return torch.rand(1, shape.c, generator=torch.Generator().manual_seed(0))
    return resize(read(image, channels=shape.c), shape.w, shape.h)[None]
