"""Losses of small keys on the CPU and on a pretended card: the same, and gradients too.

The card is hardly waited for: a loss whose sizes depend on values would wait for each of them.
"""

import copy
import warnings

import keys
import torch
from pretended_card import Card, CardTensor, from_card, moved, pretended_card
from small_network import CFG

import darknet_torch as dt
from darknet_torch.distributed import Ranks
from darknet_torch.errors import DarknetError
from darknet_torch.layers.base import Layer
from darknet_torch.layers.truth import LossContext, Truth
from darknet_torch.network import Network
from darknet_torch.training.losses import LossInputs, losses_of, total_loss, truth_size
from darknet_torch.training.solver import Solver
from darknet_torch.training.step import Stepper

__all__ = ["has_loss", "problems_of_losses", "waits_of_a_step"]

MOST_WAITS = 1
"""Of one layer's loss: some need the rows of images without boxes, or of pairs."""


def has_loss(name: str) -> bool:
    return any(type(node.layer).loss is not Layer.loss for node in keys.mini(name).plan())


def problems_of_losses(names: list[str]) -> dict[str, str]:
    """Compare the losses of small keys on the CPU and on the card; return what is wrong."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    problems = dict[str, str]()
    for name in names:
        try:
            with pretended_card() as card:
                check_loss(name, card)
        except Exception as error:  # of any kind: it is shown
            problems[name] = f"{type(error).__name__}: {error}"
    return problems


def check_loss(name: str, card: Card) -> None:
    key = keys.mini(name)
    network = dt.build(key.cfg, dialect=key.fork, mode=key.mode).train()
    other = moved(copy.deepcopy(network))
    shape, truth = network.plan.input, truth_of(network)
    images = torch.rand(2, *((shape.c,) if shape.is_vector else shape))
    expected = loss(network, images, truth)
    theirs = images.to("card"), truth.to("card")
    card.waits.clear()
    value = loss(other, *theirs)
    with_loss = [node for node in network.plan if type(node.layer).loss is not Layer.loss]
    assert sum(card.waits.values()) <= MOST_WAITS * len(with_loss), card.waits
    grads = [each.grad for each in other.parameters()]
    assert torch.allclose(from_card(value), expected, rtol=1e-4, equal_nan=True)
    assert any(isinstance(each, CardTensor) for each in grads)
    for one, two in zip(network.parameters(), grads, strict=True):
        assert (one.grad is None) == (two is None)
        if one.grad is not None:
            assert isinstance(two, CardTensor)
            torch.testing.assert_close(from_card(two), one.grad, rtol=1e-4, atol=1e-4)


def truth_of(network: Network) -> Truth:
    """Two images, of four objects and of one; for classifiers, a vector for each.

    Two of the objects have the same box. The padding has boxes that no one may compute with.
    """
    here = torch.tensor([[True] * 4, [True, False, False, False]])
    boxes = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(1)) / 2 + 0.2
    boxes[0, 3] = boxes[0, 0]
    boxes[~here] = torch.inf
    plan = network.plan
    try:
        values = None if plan.heads else torch.rand(2, truth_size(plan))
    except (DarknetError, AttributeError):
        values = None
    return Truth(boxes, torch.zeros(2, 4, dtype=torch.int64), here, here, values=values)


def loss(network: Network, images: torch.Tensor, truth: Truth) -> torch.Tensor:
    torch.manual_seed(0)
    shape = network.plan.input
    context = LossContext((shape.h, shape.w), seen=100)
    value = total_loss(losses_of(network.plan, LossInputs(network)(images), truth, context))
    value.backward()
    return value.detach()


class _Following:
    """The next batch: it notes the waits until it is prepared."""

    def __init__(self, card: Card) -> None:
        self.card, self.waits = card, list[dict[str, int]]()

    def prepare(self) -> None:
        self.waits.append(dict(self.card.waits))


def waits_of_a_step() -> dict[str, int]:
    """Return the waits for the card of a batch in two parts, from its images to new weights."""
    with pretended_card() as card:
        network = moved(dt.build(CFG).train())
        solver, truth = Solver(network, batch=2), truth_of(network)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        inputs, device = LossInputs(network), torch.device("card")
        stepper = Stepper(network.plan, inputs, device, torch.float32, 2, 2, Ranks(), scaler)
        stepper.following = following = _Following(card)
        images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
        card.waits.clear()
        solver.begin()
        assert stepper.gradients(images, truth, 0, 1).finite
        solver.step(1)
    assert following.waits == [{}]  # it was prepared once, before the wait
    return dict(card.waits)
