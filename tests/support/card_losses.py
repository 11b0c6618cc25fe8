"""Losses of small keys on the CPU and on a pretended card: the same, with gradients on the card."""

import copy
import warnings

import keys
import torch
from pretended_card import CardTensor, from_card, moved, pretended_card

import darknet_torch as dt
from darknet_torch.errors import DarknetError
from darknet_torch.layers.base import Layer
from darknet_torch.layers.truth import LossContext, Truth
from darknet_torch.network import Network
from darknet_torch.training.losses import LossInputs, losses_of, total_loss, truth_size

__all__ = ["has_loss", "problems_of_losses"]


def has_loss(name: str) -> bool:
    return any(type(node.layer).loss is not Layer.loss for node in keys.mini(name).plan())


def problems_of_losses(names: list[str]) -> dict[str, str]:
    """Compare the losses of small keys on the CPU and on the card; return what is wrong."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    problems = dict[str, str]()
    for name in names:
        try:
            with pretended_card():
                check_loss(name)
        except Exception as error:  # of any kind: it is shown
            problems[name] = f"{type(error).__name__}: {error}"
    return problems


def check_loss(name: str) -> None:
    key = keys.mini(name)
    network = dt.build(key.cfg, dialect=key.fork, mode=key.mode).train()
    other = moved(copy.deepcopy(network))
    shape, truth = network.plan.input, truth_of(network)
    images = torch.rand(2, *((shape.c,) if shape.is_vector else shape))
    expected = loss(network, images, truth)
    value = loss(other, images.to("card"), truth.to("card"))
    grads = [each.grad for each in other.parameters() if each.grad is not None]
    assert torch.allclose(from_card(value), expected, rtol=1e-4, equal_nan=True)
    assert grads
    assert all(isinstance(each, CardTensor) for each in grads)


def truth_of(network: Network) -> Truth:
    """Two images of three objects each; for classifiers, a vector for each."""
    here = torch.ones(2, 3, dtype=torch.bool)
    boxes = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(1)) / 2 + 0.2
    plan = network.plan
    try:
        values = None if plan.heads else torch.rand(2, truth_size(plan))
    except (DarknetError, AttributeError):
        values = None
    return Truth(boxes, torch.zeros(2, 3, dtype=torch.int64), here, here, values=values)


def loss(network: Network, images: torch.Tensor, truth: Truth) -> torch.Tensor:
    torch.manual_seed(0)
    shape = network.plan.input
    context = LossContext((shape.h, shape.w), seen=100)
    value = total_loss(losses_of(network.plan, LossInputs(network)(images), truth, context))
    value.backward()
    return value.detach()
