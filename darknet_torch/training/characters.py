"""`train_characters`: recurrent networks that predict the next byte of a text.

Each batch reads `batch / subdivisions` streams of the text for `subdivisions` runs of `time_steps`
bytes, see `text_steps`.
"""

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from darknet_torch.data.dataset import Array
from darknet_torch.distributed import Ranks, process_group
from darknet_torch.errors import DataError, UsageError
from darknet_torch.files import read_bytes
from darknet_torch.network import Network, Runnable, as_network
from darknet_torch.network.editing import with_options
from darknet_torch.network.eval_mode import in_eval_mode
from darknet_torch.training import run_files
from darknet_torch.training.callbacks import Callback
from darknet_torch.training.loop import own_random_numbers, run_to_the_end
from darknet_torch.training.options import TrainOptions, check_net, overridden
from darknet_torch.training.preparation import cfg_text, open_folder, start_course
from darknet_torch.training.result import TrainingResult
from darknet_torch.training.run import Run
from darknet_torch.training.running_statistics import RunningStatistics
from darknet_torch.training.solver import Solver
from darknet_torch.training.text_steps import TextStepper, text_batches
from darknet_torch.training.uploading import Uploaded

__all__ = ["bits_per_character", "train_characters"]

LARGEST = 1 << 30
"""Bytes of the longest text."""
HELD_BACK = 20
"""One part in so many, the end of the text, is not trained with but measured."""
LONGEST_MEASURED = 100_000
"""Bytes of it that are measured."""


def train_characters(
    network: Runnable,
    source: str | PathLike[str],
    *,
    folder: str | PathLike[str] = "training",
    batch: int | None = None,
    subdivisions: int | None = None,
    max_batches: int | None = None,
    learning_rate: float | None = None,
    burn_in: int | None = None,
    options: Mapping[str, object] | None = None,
    hours: float | None = None,
    patience: int | None = None,
    clear: bool = False,
    eval_every: int | None = None,
    save_every: int = 1000,
    on_nan: Literal["stop", "skip", "lower"] = "stop",
    seed: int = 0,
    fresh: bool = False,
    tensorboard: bool = False,
    callbacks: Sequence[Callback] = (),
) -> TrainingResult:
    """Train a network of vectors on a text; `generate` then writes such a text.

    The last twentieth of the text is kept back; the score is its bits per character, the mean of
    -log2 of the probability that the network gives to the byte that comes.

    Args:
        network: a recurrent network of vectors, one value for each byte; it is left as it is.
        source: a text file.
        folder: see `train`.
        batch: streams of text in all subdivisions; None is the cfg's.
        subdivisions: runs of text of one update; None is the cfg's.
        max_batches: see `train`.
        learning_rate: see `train`.
        burn_in: see `train`.
        options: see `train`.
        hours: see `train`.
        patience: see `train`.
        clear: see `train`.
        eval_every: see `train`; None is 100.
        save_every: see `train`.
        on_nan: see `train`.
        seed: see `train`.
        fresh: see `train`.
        tensorboard: see `train`.
        callbacks: see `train`.

    Raises:
        DataError: the text cannot be read, is too short, or has bytes that the network lacks.
        UsageError: the network is not recurrent, or an argument is wrong.
        TrainingError: a loss is not finite.
    """
    arguments = TrainOptions(
        folder=folder, hours=hours, patience=patience, clear=clear, eval_every=eval_every,
        save_every=save_every, on_nan=on_nan, seed=seed, fresh=fresh, tensorboard=tensorboard,
        callbacks=callbacks, dtype="float32",
    )  # fmt: skip
    cfg = overridden(options or {}, batch=batch, subdivisions=subdivisions)
    cfg = overridden(cfg, max_batches=max_batches, learning_rate=learning_rate, burn_in=burn_in)
    network = as_network(network)
    with own_random_numbers(network.device), process_group() as ranks:
        if ranks.size > 1:
            raise UsageError("a text is trained with by one process only")
        return run_to_the_end(_prepare(network, Path(source), cfg, arguments, ranks))


def _prepare(
    network: Network, path: Path, cfg: Mapping[str, object], options: TrainOptions, ranks: Ranks
) -> Run:
    network = with_options(network, cfg)
    plan, net = network.plan, network.plan.net
    if not plan.input.is_vector or not network.stateful:
        raise UsageError("a text needs a recurrent network of vectors, such as [rnn] ones")
    check_net(net, 1)
    if net.time_steps < 1:
        raise UsageError(f"time_steps={net.time_steps}: must be at least 1 to train with a text")
    streams, steps = net.batch // net.subdivisions, net.time_steps
    text = _read(path, plan.input.c, shortest=2 * HELD_BACK + 2 * steps * net.subdivisions)
    kept = len(text) - len(text) // HELD_BACK
    solver = Solver(network, seed=options.seed)
    solver.begin()
    stepper = TextStepper(network, streams, net.subdivisions, steps, solver.batch)
    digest = hashlib.sha256(text.tobytes()).hexdigest()[:16]
    run = Run(
        network=network,
        solver=solver,
        stepper=stepper,
        statistics=RunningStatistics(network, ranks, 1),
        options=options,
        ranks=ranks,
        fingerprint={"cfg": cfg_text(plan), "text": digest, "seed": options.seed},
        eval_every=options.eval_every or 100,
        last=net.max_batches,
        score=partial(bits_per_character, text=text[kept:][:LONGEST_MEASURED]),
        score_name="bits per character",
        lower_is_better=True,
    )
    if run_files.resume(run):
        run.tell(run_files.how_it_goes_on(run))
    else:
        start_course(run)
        run.tell(f"{path}: {len(text)} bytes, the last {len(text) - kept} of them are kept back")
    open_folder(run)
    texts = text_batches(text[:kept], path, stepper, options.seed, run.course.batches)
    uploads = Uploaded(texts, stepper.device)
    run.batches, stepper.following = uploads, uploads
    return run


def _read(path: Path, size: int, shortest: int) -> Array:
    text = np.frombuffer(read_bytes(path, LARGEST, DataError, "a text"), np.uint8)
    if len(text) < shortest:
        raise DataError(f"{path}: {len(text)} bytes; this network needs at least {shortest}")
    if (largest := int(text.max())) >= size:
        place = int((text == largest).argmax())
        raise DataError(f"{path}: byte {place} is {largest}; the network has {size} inputs")
    return text


@torch.no_grad()
def bits_per_character(network: Network, text: Array) -> float:
    """Return the mean of -log2 of the probability of each next byte of a text.

    Args:
        network: recurrent, with probabilities as its output.
        text: (N,) uint8, at least two bytes.
    """
    state, bits = None, 0.0
    size = network.plan.input.c
    numbers = torch.from_numpy(text.astype(np.int64)).to(network.device)
    with in_eval_mode(network):
        for now, following in itertools.pairwise(numbers):
            x = torch.nn.functional.one_hot(now, size).to(network.input_dtype)[None]
            output, state = network.step(x, state)
            assert isinstance(output, Tensor)  # no head: the plan's last layer
            bits -= math.log2(max(float(output.flatten()[following]), 1e-30))
    return bits / (len(numbers) - 1)
