"""How many operations a step of training takes besides the network's: a card waits for each launch.

The bounds are those that were reached. Constants are kept, and rows of padding go along, as on a
card; nothing is timed.
"""

import sys

import numpy as np
import torch
from counted_operations import CountedOperations, as_on_a_card
from torch import Tensor

import darknet_torch as dt
from darknet_torch.distributed import Ranks
from darknet_torch.heads.base import constant
from darknet_torch.heads.targets import numbers
from darknet_torch.layers.truth import LossContext, Truth
from darknet_torch.network import Network
from darknet_torch.network.plan import Plan
from darknet_torch.training.augment_options import AugmentOptions
from darknet_torch.training.collate import Batch
from darknet_torch.training.losses import LossInputs, losses_of, total_loss
from darknet_torch.training.random_transforms import Randomness, random_geometry
from darknet_torch.training.running_statistics import RunningStatistics
from darknet_torch.training.solver import Solver
from darknet_torch.training.step import Stepper
from darknet_torch.training.unplaced import Unplaced, UnplacedImages

SIDE, IMAGES = 64, 3
PACKAGE = [module for name, module in sys.modules.items() if name.startswith("darknet_torch")]
YOLO = (
    "mask={}\nanchors=10,14, 23,27, 37,58, 81,82\nclasses=3\nnum=4\nscale_x_y=1.05\n"
    "ignore_thresh=.7\ntruth_thresh=1\niou_loss=ciou\niou_normalizer=.07\n"
)
CONVOLUTION = "[convolutional]\nbatch_normalize={}\nfilters={}\nsize={}\nstride={}\npad=1\n"
TWO_HEADS = (
    f"[net]\nwidth={SIDE}\nheight={SIDE}\nchannels=3\n"
    + CONVOLUTION.format(1, 8, 3, 8)
    + CONVOLUTION.format(0, 16, 1, 1)
    + f"activation=linear\n[yolo]\n{YOLO.format('2,3')}[route]\nlayers=0\n"
    + CONVOLUTION.format(1, 8, 3, 2)
    + CONVOLUTION.format(0, 16, 1, 1)
    + f"activation=linear\n[yolo]\n{YOLO.format('0,1')}"
)
REGION = "[region]\nanchors=1,1, 2,3\nclasses=3\nnum=2\nsoftmax=1\nbias_match=1\nthresh=.6\n"
ONE_HEAD = TWO_HEADS.partition("[yolo]")[0] + REGION


def truth() -> Truth:
    """Some objects in each image, and padding."""
    empty = Truth.empty(IMAGES, 5)
    empty.boxes[:] = 0.1 + torch.rand(IMAGES, 5, 4, generator=torch.manual_seed(1)) / 2
    empty.valid[:, :3] = True
    return empty


def of_losses(cfg: str, seen: int = 100_000) -> CountedOperations:
    """The operations of all losses of a network, forward and backward."""
    plan: Plan = dt.plan(cfg)
    outputs = {}
    for node in plan:
        if node.layer in plan.head_layers:
            shape = plan[node.index - 1].shape
            outputs[node.index - 1] = torch.randn(IMAGES, *shape).requires_grad_()
    objects, context = truth(), LossContext((SIDE, SIDE), seen)
    with as_on_a_card(PACKAGE), CountedOperations() as counted:
        total_loss(losses_of(plan, outputs, objects, context)).backward()
    assert all(each.grad is not None for each in outputs.values())
    return counted


def test_two_heads_of_yolo() -> None:
    assert of_losses(TWO_HEADS).count <= 375


def test_a_head_of_region() -> None:
    assert of_losses(ONE_HEAD).count <= 205


def test_images_are_placed_and_coloured() -> None:
    rng = np.random.default_rng(1)
    options = AugmentOptions(classes=1, jitter=0.3, resize=1.5, mean_border=True)
    images: list[Unplaced | Tensor] = []
    for _ in range(IMAGES):
        image = torch.from_numpy(rng.integers(0, 256, (3, 40, 50), dtype=np.uint8))
        geometry = random_geometry(Randomness(rng, rng, rng), options, (50, 40), (SIDE, SIDE))
        images.append(Unplaced(image, geometry, (SIDE, SIDE)))
    unplaced = UnplacedImages.of(images)
    assert unplaced is not None and unplaced.facts.beyond
    none, colours = torch.empty(0, dtype=torch.uint8), torch.tensor([[0.1, 1.2, 0.8]] * IMAGES)
    batch = Batch(none, truth(), (), colours, unplaced)
    with as_on_a_card(PACKAGE), CountedOperations() as counted:
        made = batch.on("cpu")
    assert made.images.shape == (IMAGES, 3, SIDE, SIDE)
    assert counted.count <= 85


def test_a_step_besides_the_network() -> None:
    network = dt.build(TWO_HEADS)
    whole, alone = of_step(network), of_network(network)
    assert whole.count - alone.count <= 400


def of_step(network: Network) -> CountedOperations:
    """The operations of a batch, from its images to new weights."""
    solver, ranks = Solver(network, batch=IMAGES), Ranks()
    statistics = RunningStatistics(network.train(), ranks, 1)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    device, dtype = torch.device("cpu"), torch.float32
    inputs = LossInputs(network)
    stepper = Stepper(network.plan, inputs, device, dtype, IMAGES, 1, ranks, scaler)
    images = torch.randint(256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8)
    for _ in range(2):  # the first one makes what the others find
        with as_on_a_card(PACKAGE), CountedOperations() as counted:
            solver.begin()
            statistics.begin(0.1)
            assert stepper.gradients(images, truth(), 0, 1).finite
            statistics.join()
            solver.step(1, scaler)
    return counted


def of_network(network: Network) -> CountedOperations:
    """The operations of its passes alone."""
    inputs, images = LossInputs(network), torch.rand(IMAGES, 3, SIDE, SIDE)
    with CountedOperations() as counted:
        outputs = [each for index, each in inputs(images).items() if index >= 0]
        torch.autograd.backward(outputs, [torch.ones_like(each) for each in outputs])
    return counted


def test_what_is_kept_is_not_kept_on_the_cpu() -> None:
    """There it is made anew, so that no one's change of it is another's."""
    like = torch.zeros(1)
    assert constant((1, 2), like) is not constant((1, 2), like)
    assert numbers(3, like).tolist() == [0, 1, 2]
    assert numbers(3, like) is not numbers(3, like)
