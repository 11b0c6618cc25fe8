"""Streams of a text and the gradients of their batches.

A stream goes on where its last run ended, from batch to batch, and so does the state of the
recurrent layers; before one run in 64, on average, it jumps to a random place of the text, with a
state of zeros, as in Darknet's rnn.c. Gradients do not go back beyond a run.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from darknet_torch.data.dataset import Array
from darknet_torch.errors import UsageError
from darknet_torch.layers.truth import LossContext, Truth
from darknet_torch.network import Network
from darknet_torch.network.state import State, state_shapes
from darknet_torch.training.batches import Batch
from darknet_torch.training.losses import LossInputs, losses_of, network_cost, total_loss
from darknet_torch.training.step import BatchLoss, Upcoming, gradient_norm

__all__ = ["Streams", "TextStepper", "text_batches"]

RUNS_OF_A_STREAM = 64
"""A stream jumps before one run in so many."""


def text_batches(
    text: Array, path: Path, stepper: "TextStepper", seed: int, start: int
) -> Iterator[Batch]:
    """Yield batches: images (runs, steps + 1, streams) uint8 are bytes, each with the next one.

    The values of their ground truth (streams, runs) are 1 where a stream has jumped.
    """
    runs, steps = stepper.runs, stepper.steps
    streams = Streams(stepper.streams, len(text), steps, seed)
    number = start
    while True:
        places, jumps = zip(*(streams[number * runs + run] for run in range(runs)), strict=True)
        at = np.stack(places)[:, None] + np.arange(steps + 1)[:, None]
        jumped = torch.from_numpy(np.stack(jumps)).T.float()
        truth = replace(Truth.empty(stepper.streams), values=jumped)
        yield Batch(torch.from_numpy(text[at % len(text)]), truth, (path,))
        number += 1


class Streams:
    """Where streams are in a text: a function of the seed and the number of the run."""

    def __init__(self, count: int, length: int, steps: int, seed: int) -> None:
        self.count, self.length, self.steps, self.seed = count, length, steps, seed

    def __getitem__(self, run: int) -> tuple[Array, Array]:
        """Return the first byte of each stream in a run, and whether it has jumped there."""
        jumped, place = self._jumps(run)
        before, open_ = run, ~jumped
        first = jumped.copy()
        while open_.any():  # back to the last jump of each: some 64 runs
            before -= 1
            there, places = self._jumps(before)
            found = open_ & there
            place[found] = places[found] + (run - before) * self.steps
            open_ &= ~found
        return place % self.length, first

    def _jumps(self, run: int) -> tuple[Array, Array]:
        """Return which streams jump before a run, and where to; all do before the first."""
        random = np.random.default_rng((self.seed, run))
        place = random.integers(self.length, size=self.count)
        return (random.integers(RUNS_OF_A_STREAM, size=self.count) == 0) | (run == 0), place


@dataclass
class TextStepper:
    """Computes the gradients of a batch: run after run of text, step after step.

    Args:
        network: recurrent.
        streams: texts that are read at the same time.
        runs: of `steps` bytes each.
        steps: bytes that gradients go back.
        count: bytes of a batch, which the loss is divided by.
    """

    network: Network
    streams: int
    runs: int
    steps: int
    count: int

    def __post_init__(self) -> None:
        self.module, self.device = LossInputs(self.network), self.network.device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=False)
        self.following: Upcoming | None = None
        self.state: State = {}
        self.before: State = {}

    @property
    def images(self) -> int:
        """What Darknet counts as images: runs of streams."""
        return self.streams * self.runs

    def gradients(self, images: Tensor, truth: Truth, seen: int, seed: int) -> BatchLoss:
        """Add the gradients of a batch; see `text_batches` for the images."""
        torch.manual_seed(seed % 2**63)
        assert truth.values is not None  # see `text_batches`
        self.before = state = self.state
        cost, sums = torch.zeros((), dtype=torch.float64, device=self.device), dict[str, Tensor]()
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        runs = zip(images.to(self.device).long(), truth.values.to(self.device).T, strict=True)
        for number, (run, jumped) in enumerate(runs):
            state = {i: tuple(_zeroed(t, jumped) for t in each) for i, each in state.items()}
            context = LossContext((0, 0), seen + (number + 1) * self.streams)
            totals = []
            for now, following in itertools.pairwise(run):
                outputs = self.module(self._one_hot(now), state)
                values = replace(truth, values=self._one_hot(following)).to(self.device)
                losses = losses_of(self.network.plan, outputs, values, context)
                totals.append(total_loss(losses))
                cost += network_cost(losses)
                for loss in losses.values():
                    for name, value in loss.parts.items():
                        sums[name] = sums.get(name, 0) + value.detach().double()
            total = torch.stack(totals).sum()
            finite = finite & total.isfinite()
            (total / self.count).backward()
        flags = (each.double() for each in (finite, gradient_norm(self.module).isfinite()))
        figures = torch.stack([*flags, cost, *sums.values()])
        if self.following is not None:
            self.following.prepare()
        numbers = figures.tolist()  # the only wait
        if numbers[0]:  # else the next batch would not be, either
            self.state = {i: tuple(t.detach() for t in each) for i, each in state.items()}
        parts = {name: value / self.count for name, value in zip(sums, numbers[3:], strict=True)}
        broken = () if numbers[0] else (self.network.plan.final,)
        return BatchLoss(numbers[2] / self.count, parts, self.images, broken, bool(numbers[1]))

    def undo(self) -> None:
        """Forget the last batch, which is to be computed again."""
        self.state = self.before

    def kept(self) -> Mapping[str, Tensor]:
        """Return the state of the recurrent layers, by layer and number."""
        return {
            f"{index}.{number}": tensor
            for index, tensors in self.state.items()
            for number, tensor in enumerate(tensors)
        }

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """Take over what `kept` returned before the training was stopped.

        Raises:
            UsageError: it is the state of other layers.
        """
        shapes = state_shapes(self.network.plan)
        expected = {
            f"{index}.{number}": (self.streams, *(shape[:1] if shape.is_vector else shape))
            for index, each in shapes.items()
            for number, shape in enumerate(each)
        }
        if kept and {name: tuple(each.shape) for name, each in kept.items()} != expected:
            raise UsageError("the state of the recurrent layers is that of other layers")
        self.state = {
            index: tuple(kept[f"{index}.{number}"].to(self.device) for number in range(len(each)))
            for index, each in shapes.items()
            if kept
        }

    def _one_hot(self, numbers: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(numbers, self.network.plan.input.c).float()


def _zeroed(state: Tensor, jumped: Tensor) -> Tensor:
    """Return a state (streams, ...) without gradient, zero for the streams that have jumped."""
    return state.detach() * (1 - jumped).view(-1, *[1] * (state.dim() - 1))
