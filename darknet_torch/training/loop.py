"""`train`: any cfg, from its weights or from nothing, with Darknet's losses.

result = train(load("yolov4-tiny"), "my.yaml", hours=2)
result.network                      # trained, ready for detect and evaluate
result.score                        # mAP@0.50 on the validation images
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from typing import Literal

import torch
import torch.distributed as dist

from darknet_torch.distributed import process_group
from darknet_torch.network import Runnable, as_network
from darknet_torch.safety.interrupt import Interrupt, stops_between_batches
from darknet_torch.speed.freed_memory import LARGEST_IN_TRAINING, keep_freed_memory
from darknet_torch.training import scoring
from darknet_torch.training.batch_norm import darknet_batch_norm
from darknet_torch.training.callbacks import Callback
from darknet_torch.training.finite import may_update
from darknet_torch.training.options import TrainOptions, overridden
from darknet_torch.training.preparation import prepare
from darknet_torch.training.result import TrainingResult
from darknet_torch.training.run import Run
from darknet_torch.training.run_files import save, write_weights
from darknet_torch.training.sources import DataSource

__all__ = ["own_random_numbers", "run_to_the_end", "train"]

SAVE_SECONDS = 300
"""The state is written at least so often."""


def train(
    network: Runnable,
    source: DataSource,
    *,
    val: DataSource | None = None,
    joint: DataSource | None = None,
    split: str = "train",
    val_split: str = "val",
    folder: str | PathLike[str] = "training",
    batch: int | None = None,
    subdivisions: int | Literal["auto"] | None = None,
    max_batches: int | None = None,
    learning_rate: float | None = None,
    burn_in: int | None = None,
    options: Mapping[str, object] | None = None,
    hours: float | None = None,
    patience: int | None = None,
    freeze: int = 0,
    clear: bool = False,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    batch_norm: Literal["torch", "darknet"] = "torch",
    compile: bool = False,  # noqa: A002 (what torch calls it)
    augment: bool = True,
    cache: Literal["none", "ram", "disk"] = "none",
    workers: int | None = None,
    weighted: bool = False,
    joint_share: float = 0.5,
    eval_every: int | None = None,
    save_every: int = 1000,
    points: int = 0,
    on_nan: Literal["stop", "skip", "lower"] = "stop",
    seed: int = 0,
    fresh: bool = False,
    tensorboard: bool = False,
    callbacks: Sequence[Callback] = (),
) -> TrainingResult:
    """Train a detector or classifier with the losses, the solver and the augmentation of its fork.

    The cfg says how: batch, learning rate and its policy, decay, augmentation; arguments override
    it. All that is needed to go on is in the folder: the same call again goes on where the last
    state was written, and on one processor ends with the same bits. Under `torchrun` the processes
    share each batch.

    Args:
        network: a Network with values, on the device that is to compute; it is left as it is.
        source: training images: what `data.read` takes, or a Dataset.
        val: validation images; None is the validation split of `source`.
        joint: images with classes but no boxes, trained with at the same time, as YOLO9000 was.
        split: name of the training split, where a source has several.
        val_split: name of the validation split.
        folder: where the files of the training are written.
        batch: images of one update; None is the cfg's.
        subdivisions: parts that a batch is computed in; None is the cfg's, or more where these do
            not fit into memory; "auto" is as few as fit.
        max_batches: number of updates; None is the cfg's.
        learning_rate: its base; None is the cfg's.
        burn_in: batches in which the learning rate rises; None is the cfg's.
        options: other options of the cfg: {"mosaic": 0, "yolo.ignore_thresh": 0.6}.
        hours: the most time; the learning rate then follows its policy over this time in place of
            `max_batches`.
        patience: measurements without a better score before it stops; None never stops it.
        freeze: number of first layers that stay as they are.
        clear: count images from 0, not from the number in the weights' header.
        dtype: of the activations; "auto" is bfloat16 where the hardware is faster in it, float16 on
            older graphics cards, else float32. Weights are float32 always.
        batch_norm: "torch" normalises as cuDNN does, by the biased variance; "darknet" as
            Darknet's own code.
        compile: compile the network with torch.compile, which takes minutes.
        augment: change images at random as the cfg says.
        cache: keep decoded images in memory ("ram") or in a file of the folder ("disk").
        workers: processes that read images; None is as many as there are spare cores, at most
            24; one, if any, where the processor is what trains.
        weighted: draw images of rare classes more often.
        joint_share: share of the images of `joint` in each batch.
        eval_every: batches from one measurement on the validation images to the next; None is
            four times through the images, at least 100.
        save_every: batches from one `NAME_N.weights` to the next.
        points: how Darknet's AP is computed: 0 (area), 11 or 101 recalls.
        on_nan: a loss that is not finite: "stop" with an error, "skip" the batch, or "lower" the
            learning rate by half as well.
        seed: of all random numbers.
        fresh: begin anew where the folder has a training already.
        tensorboard: write TensorBoard's events too.
        callbacks: called with messages, and with the figures of each batch and measurement.

    Returns:
        The trained network and its score.

    Raises:
        DataError: the images cannot be used.
        UsageError: an argument is wrong, or does not fit the network.
        TrainingError: a loss that is not finite.
        WeightsError: a file cannot be written.
    """
    arguments = TrainOptions(
        folder=folder, split=split, val_split=val_split, hours=hours, patience=patience,
        freeze=freeze, clear=clear, subdivisions=subdivisions, dtype=dtype, batch_norm=batch_norm,
        compile=compile, augment=augment, cache=cache, workers=workers, weighted=weighted,
        joint_share=joint_share, eval_every=eval_every, save_every=save_every, points=points,
        on_nan=on_nan, seed=seed, fresh=fresh, tensorboard=tensorboard, callbacks=callbacks,
    )  # fmt: skip
    number = None if subdivisions == "auto" else subdivisions
    cfg = overridden(options or {}, batch=batch, subdivisions=number, max_batches=max_batches)
    cfg = overridden(cfg, learning_rate=learning_rate, burn_in=burn_in)
    network = as_network(network)
    keep_freed_memory(LARGEST_IN_TRAINING)
    with own_random_numbers(network.device), process_group() as ranks:
        return run_to_the_end(prepare(network, source, val, joint, cfg, arguments, ranks))


def own_random_numbers(device: torch.device) -> AbstractContextManager[None]:
    """Return a context after which torch's random generators are as they were before."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def run_to_the_end(run: Run) -> TrainingResult:
    """Train as far as the options say, and return the result."""
    try:
        with _batch_norm(run), stops_between_batches() as interrupt:
            stopped = _loop(run, interrupt)
    finally:
        run.close()
    course = run.course
    trained = run.solver.averaged().eval().requires_grad_(False)
    return TrainingResult(
        network=trained,
        folder=run.options.path,
        cfg=run.path(".cfg"),
        weights=run.path("_last.weights" if course.best is None else "_best.weights"),
        batches=course.batches,
        score=course.measured,
        best=course.best,
        stopped=stopped,
    )


def _batch_norm(run: Run) -> AbstractContextManager[None]:
    is_own = run.options.batch_norm == "darknet"
    return darknet_batch_norm(run.network) if is_own else nullcontext()


def _loop(run: Run, interrupt: Interrupt) -> str:
    """Train until the end; return why it ended."""
    course, options = run.course, run.options
    while course.stopped is None:
        batch = next(run.batches)
        run.solver.begin()
        run.statistics.begin(run.momentum())
        loss = run.stepper.gradients(batch.images, batch.truth, course.seen, _seed(run))
        course.batches += 1
        course.seen += run.stepper.images
        if may_update(run, loss, batch):
            run.statistics.join()
            run.solver.rate_factor = course.rate_factor
            size = loss.images / run.stepper.images
            rate = run.solver.step(_position(run), run.stepper.scaler, size=size)
            run.report(loss, rate, (batch.images.shape[-1], batch.images.shape[-2]))
        course.stopped = _why_to_stop(run)
        if course.stopped or course.batches % run.eval_every == 0:
            scoring.measure(run)
            course.stopped = course.stopped or run.why_to_stop()
        if course.batches % options.save_every == 0:
            write_weights(run, f"_{course.batches}.weights")
        interrupted = _agree(run, interrupt.requested)
        if interrupted or course.stopped or _is_time_to_save(run):
            save(run, is_last=interrupted or course.stopped is not None)
        if interrupted and not course.stopped:
            return "interrupt"
    return course.stopped


def _seed(run: Run) -> int:
    """Return the seed of the random numbers in the layers for this batch."""
    return hash((run.options.seed, run.course.batches))


def _why_to_stop(run: Run) -> str | None:
    reason = run.why_to_stop()
    return "hours" if _agree(run, reason == "hours") else reason  # clocks differ


def _position(run: Run) -> int:
    """Return the position in the schedule, the same in all processes, whose clocks differ."""
    position = run.schedule_position()
    if run.ranks.size > 1:
        shared = torch.tensor(position, device=run.stepper.device)
        dist.broadcast(shared, 0)
        position = int(shared)
    return position


def _is_time_to_save(run: Run) -> bool:
    course = run.course
    return (
        course.batches % run.eval_every == 0
        or course.batches % run.options.save_every == 0
        or time.monotonic() - run.saved > SAVE_SECONDS
    )


def _agree(run: Run, wish: bool) -> bool:
    """Return whether any process wishes so, the same in all of them."""
    if run.ranks.size == 1:
        return wish
    flag = torch.tensor([float(wish)], device=run.stepper.device)
    dist.all_reduce(flag)
    return bool(flag)
