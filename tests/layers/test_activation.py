"""Activation functions that overwrite their input: the same values, the same gradients."""

import pytest
import torch

import darknet_torch as dt
from darknet_torch.layers.activation import activate

NAMES = sorted(dt.ALEXEYAB.activations | dt.PJREDDIE.activations)
OVERWRITING = {"logistic", "relu", "relu6", "leaky"}


@pytest.mark.parametrize("name", NAMES)
def test_activation_in_place_has_the_same_values_and_gradients(name: str) -> None:
    values = torch.cat([torch.tensor([-0.0, 0.0, 6.0, 1.0, -2.0]), torch.linspace(-9, 9, 91)])
    found = []
    for in_place in (False, True):
        leaf = values.view(1, 6, 16, 1).clone().requires_grad_()
        x = leaf * 1  # as the output of a convolution is
        y = activate(name, x, in_place=in_place)
        assert (y is x) == (name == "linear" or (in_place and name in OVERWRITING))
        y.square().sum().backward()
        found.append((y.detach(), leaf.grad))
    for plain, overwritten in zip(*found, strict=True):
        assert torch.equal(plain, overwritten)


def test_convolutions_keep_no_map_before_the_activation_in_training() -> None:
    conv = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=leaky\n"
    network = dt.build("[net]\nwidth=8\nheight=8\nchannels=3\n" + 2 * conv)
    kept = dict[int, torch.Size]()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.shape
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.train().requires_grad_(True)(torch.rand(2, 3, 8, 8))
    maps = [shape for shape in kept.values() if shape == (2, 4, 8, 8)]
    assert len(maps) == 4  # the outputs of both convolutions and of both activations
