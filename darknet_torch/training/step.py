"""The gradients of one batch: mini-batch after mini-batch through the network and its losses."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from darknet_torch.distributed import Ranks
from darknet_torch.layers.truth import Loss, LossContext, Truth
from darknet_torch.network.float32 import float32_products
from darknet_torch.network.plan import Plan
from darknet_torch.training.losses import losses_of, total_loss
from darknet_torch.training.precision import autocast
from darknet_torch.training.recorded import PassFigures, RecordedPasses

__all__ = ["BatchLoss", "Stepper", "Steps", "Upcoming", "as_input", "gradient_norm"]

COST = ""
"""Name of a layer's cost, beside those of the parts of its loss."""


@dataclass(frozen=True)
class BatchLoss:
    """The loss of a batch.

    Attributes:
        cost: what Darknet prints: the mean over its layers with a cost, by image.
        parts: name of a part -> its sum over the layers, by image.
        images: of the batch, in all processes.
        layers: indices of the layers whose loss is not finite.
        finite: whether the gradients are. With float16 always: its scaler looks at them.
    """

    cost: float
    parts: Mapping[str, float]
    images: int
    layers: tuple[int, ...] = ()
    finite: bool = True


def gradient_norm(module: nn.Module) -> Tensor:
    """Return the norm () of all gradients of a module: finite if they are; it is not waited for."""
    gradients = [each.grad for each in module.parameters() if each.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def as_input(images: Tensor, device: torch.device) -> Tensor:
    """Return images (B, C, H, W), uint8 or float32, as float32 in 0..1, channels last in memory."""
    images = images.to(device, non_blocking=True)
    layout = torch.channels_last if images.dim() == 4 else torch.contiguous_format
    if images.dtype == torch.uint8:
        return images.to(torch.float32, memory_format=layout).div_(255)
    return images.contiguous(memory_format=layout)


class Upcoming(Protocol):
    """Batches of which the next one can be prepared while a card computes."""

    def prepare(self) -> None:
        """Launch what makes the next batch."""


class Steps(Protocol):
    """What the loop needs of a stepper.

    Attributes:
        device: what computes.
        scaler: of float16 losses.
        following: prepared in each batch when all of it is launched, before its loss is waited
            for: between that and the next launch a card has no work.
    """

    device: torch.device
    scaler: torch.amp.GradScaler
    following: Upcoming | None

    @property
    def images(self) -> int:
        """Images of a batch of all processes; of character models, streams of text."""

    def gradients(self, images: Tensor, truth: Truth, seen: int, seed: int) -> BatchLoss:
        """Add the gradients of a batch to the parameters; see `Stepper`."""

    def undo(self) -> None:
        """Forget the last batch, which is to be computed again."""

    def kept(self) -> Mapping[str, Tensor]:
        """Return what the next batch depends on besides the network, by name."""

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """Take over what `kept` returned before the training was stopped."""


@dataclass
class Stepper:
    """Computes the gradients of batches.

    Args:
        plan: of the network.
        module: its LossInputs, maybe compiled, or inside DistributedDataParallel.
        device: what computes.
        dtype: type of the activations.
        batch: images of a batch of all processes, which gradients are divided by. There may be
            more, with `dynamic_minibatch`: see `Solver.step`.
        subdivisions: mini-batches of a batch of all processes.
        ranks: the processes; each computes a run of mini-batches.
        scaler: of float16 losses.
        following: see `Steps`.
        recorded: records passes that come often; None: all are launched kernel by kernel.
    """

    plan: Plan
    module: nn.Module
    device: torch.device
    dtype: torch.dtype
    batch: int
    subdivisions: int
    ranks: Ranks
    scaler: torch.amp.GradScaler
    following: Upcoming | None = None
    recorded: RecordedPasses | None = None

    @property
    def images(self) -> int:
        """Images of a batch of all processes."""
        return self.batch

    @property
    def mini_batch(self) -> int:
        """Images of one forward pass."""
        return self.batch // self.subdivisions

    @property
    def mini_batches(self) -> int:
        """Forward passes of this process for a batch."""
        return self.subdivisions // self.ranks.size

    def gradients(self, images: Tensor, truth: Truth, seen: int, seed: int) -> BatchLoss:
        """Add the gradients of this process's part of a batch to the parameters.

        Args:
            images: (B / ranks, C, H, W), uint8 or float32, the same number in each process.
            truth: of those images.
            seen: images of all batches before.
            seed: of the random numbers in layers, such as [dropout]; another for each batch.
        """
        try:
            passes = self._all(images, truth, seen, seed)
        except torch.OutOfMemoryError:
            if self.recorded is None or not self.recorded.make_room():
                raise
            self.module.zero_grad(set_to_none=True)
            passes = self._all(images, truth, seen, seed)
        return self._joined(len(images) * self.ranks.size, passes)

    def undo(self) -> None:
        """Forget nothing: batches of images do not depend on one another."""

    def kept(self) -> Mapping[str, Tensor]:
        """Return nothing, for the same reason."""
        return {}

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """Take over nothing."""

    def _all(self, images: Tensor, truth: Truth, seen: int, seed: int) -> list[PassFigures]:
        """Compute all mini-batches of this process."""
        if self.recorded is not None:
            self.recorded.begin()
        size = len(images) // self.mini_batches
        parts = [slice(n * size, (n + 1) * size) for n in range(self.mini_batches)]
        return [
            self._one(images[part], truth[part], seen, seed, number)
            for number, part in enumerate(parts)
        ]

    def _one(self, images: Tensor, truth: Truth, seen: int, seed: int, number: int) -> PassFigures:
        """Compute one mini-batch, forward and backward."""
        place = self.ranks.rank * self.mini_batches + number  # in the batch of all processes
        seen += (place + 1) * len(images)
        _seed(hash((seed, place)) % 2**63, self.device)
        images, truth = images.to(self.device, non_blocking=True), truth.to(self.device)

        def run(images: Tensor, *tensors: Tensor) -> PassFigures:
            x = as_input(images, self.device)
            shape = (x.shape[2], x.shape[3]) if x.dim() == 4 else (0, 0)
            with float32_products(self.device), self._without_sync(number):
                losses = self.losses(x, truth.with_tensors(tensors), LossContext(shape, seen))
                # DistributedDataParallel takes the mean over the processes
                scaled = total_loss(losses) * (self.ranks.size / self.batch)
                self.scaler.scale(scaled).backward()
            return _figures(losses)

        if self.recorded is None:
            return run(images, *truth.tensors())
        phases = [node.layer.training_phase(seen) for node in self.plan]
        kind = None if None in phases else tuple(phases)
        return self.recorded(kind, (images, *truth.tensors()), run)

    def losses(self, x: Tensor, truth: Truth, context: LossContext) -> dict[int, Loss]:
        """Return the losses of images as `as_input` gives them; the losses are in float32."""
        with autocast(self.device, self.dtype):
            outputs = self.module(x)
        return losses_of(self.plan, outputs, truth, context)

    def _without_sync(self, number: int) -> AbstractContextManager[object]:
        """Let the processes exchange gradients with the last mini-batch only."""
        if isinstance(self.module, DistributedDataParallel) and number < self.mini_batches - 1:
            return self.module.no_sync()
        return nullcontext()

    def _joined(self, images: int, passes: Sequence[PassFigures]) -> BatchLoss:
        """Return the figures of all processes as plain numbers, in one exchange and one wait.

        Args:
            images: of the batch, in all processes.
            passes: of the mini-batches.
        """
        names = passes[0].names
        sums = torch.stack([each.values for each in passes]).sum(dim=0)
        norms = [] if self.scaler.is_enabled() else [gradient_norm(self.module)[None]]
        values = torch.cat([sums, *norms]).double()
        if self.ranks.size > 1:
            dist.all_reduce(values)
        if self.following is not None:
            self.following.prepare()
        numbers = values.tolist()
        finite = all(map(math.isfinite, numbers[len(names) :]))
        found = dict(zip(names, numbers, strict=False))
        costs = [value for (_, name), value in found.items() if name == COST]
        parts, broken = dict[str, float](), dict[int, None]()
        for (index, name), value in found.items():
            if name != COST:
                parts[name] = parts.get(name, 0.0) + value / images
                if not math.isfinite(value):
                    broken[index] = None
        cost = sum(costs) / len(costs) / images
        return BatchLoss(cost, parts, images, tuple(broken), finite)


def _seed(seed: int, device: torch.device) -> None:
    """Seed the random numbers of the CPU and of a device.

    `torch.manual_seed` looks for devices of all kinds, which takes as long as thirty launches.
    """
    if device.type != "cuda":
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    with torch.cuda.device(device):
        torch.cuda.manual_seed(seed)


def _figures(losses: Mapping[int, Loss]) -> PassFigures:
    """Return the figures of the losses of a mini-batch."""
    figures = {
        (index, name): value.detach()
        for index, loss in losses.items()
        for name, value in {**loss.parts, COST: loss.cost}.items()
    }
    return PassFigures(tuple(figures), torch.stack(list(figures.values())))
