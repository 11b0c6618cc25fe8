"""Everything before the first step: data, checks, options, memory, and the state of before."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from darknet_torch.data import Dataset
from darknet_torch.distributed import Ranks
from darknet_torch.errors import UsageError
from darknet_torch.layers.truth import LossContext
from darknet_torch.network import Network
from darknet_torch.network.editing import with_options
from darknet_torch.network.named_files import copy_named_files
from darknet_torch.network.plan import Plan
from darknet_torch.parsing import parser
from darknet_torch.speed.dtypes import type_name
from darknet_torch.training import run_files
from darknet_torch.training.augment_options import AugmentOptions
from darknet_torch.training.batches import batches, spare_workers
from darknet_torch.training.checks import (
    anchor_hint,
    check_batch_norm,
    check_dataset,
    check_joint,
    check_labels,
    check_losses,
    problem_lines,
)
from darknet_torch.training.first_batch import draw_first_batch
from darknet_torch.training.losses import LossInputs, no_objects, node_with_masks, total_loss
from darknet_torch.training.memory import fitting_subdivisions
from darknet_torch.training.metrics_log import MetricsLog
from darknet_torch.training.multiscale import SizeSchedule
from darknet_torch.training.options import TrainOptions, check_net
from darknet_torch.training.precision import agreed_dtype
from darknet_torch.training.recorded import RecordedPasses
from darknet_torch.training.run import Course, Run
from darknet_torch.training.running_statistics import RunningStatistics
from darknet_torch.training.scoring import matched, score_of
from darknet_torch.training.solver import Solver
from darknet_torch.training.sources import DataSource, read_all
from darknet_torch.training.starting import expect_few_objects
from darknet_torch.training.state_checks import data_digest
from darknet_torch.training.step import Stepper, as_input
from darknet_torch.training.uploading import Uploaded

__all__ = ["cfg_text", "open_folder", "prepare", "start_course"]

EPOCHS, FEWEST = 4, 100
"""From one measurement to the next: times through the images, and at least so many batches."""
NOT_MEASURED = (
    "no validation images other than those of the training: no score is measured, and no best"
    " weights are kept; `val:` in the description, or val= (--val), names some"
)
NO_SCORE = "there is no score of masks: no best weights are kept, NAME_last.weights is the result"
LARGEST_BATCH = 16
"""Images of one forward pass when the score is measured."""


def prepare(
    network: Network,
    source: DataSource,
    val: DataSource | None,
    joint: DataSource | None,
    cfg: Mapping[str, object],
    options: TrainOptions,
    ranks: Ranks,
) -> Run:
    """Check everything and return the training, ready for its next batch.

    Nothing is written before all checks have passed. See `train` for the arguments.
    """
    network = with_options(network, cfg).to(network.device)
    check_losses(network.plan)
    check_net(network.plan.net, ranks.size)
    masks = node_with_masks(network.plan) is not None
    mapped = any(head.class_map is not None for head in network.plan.head_layers)
    train, validation, others = read_all(source, val, joint, options, masks=masks, mapped=mapped)
    check_dataset(train, network.plan)
    if validation is not None:
        check_labels(validation)
    if others is not None:
        check_joint(others, network.plan)
    network.names = network.names or train.names
    learns_masks_only = masks and not network.plan.heads
    validation = None if learns_masks_only or validation is None else matched(network, validation)
    run = _assembled(network, options, ranks, train, others, validation)
    if run_files.resume(run):
        run.tell(run_files.how_it_goes_on(run))
    else:
        start_course(run)
        expect_few_objects(run.network)
        for line in problem_lines(train):
            run.tell(line)
        if network.plan.heads and (hint := anchor_hint(train, network.plan)):
            run.tell(hint)
        run.tell(_how(run))
        if validation is None:
            run.tell(NO_SCORE if learns_masks_only else NOT_MEASURED)
    open_folder(run)
    _open_batches(run, train, others)
    return run


# ---- what the loop needs


def _assembled(
    network: Network,
    options: TrainOptions,
    ranks: Ranks,
    train: Dataset,
    joint: Dataset | None,
    val: Dataset | None,
) -> Run:
    device, net = network.device, network.plan.net
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    solver = Solver(network, freeze=options.freeze, seed=options.seed)
    solver.begin()
    saved = run_files.saved_course(options)
    dtype = agreed_dtype(options.dtype, saved.dtype, device, ranks)
    module = LossInputs(network)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    shape = (net.batch, net.subdivisions)
    stepper = Stepper(network.plan, module, device, dtype, *shape, ranks, scaler)
    check_batch_norm(network.plan, stepper.mini_batch)
    stepper.subdivisions = saved.subdivisions or _subdivisions(stepper, module, options)
    check_batch_norm(network.plan, stepper.mini_batch)
    if options.compile:
        module.compile()
    if ranks.size > 1:
        stepper.module = DistributedDataParallel(
            module, broadcast_buffers=False, find_unused_parameters=True
        )
    elif device.type == "cuda" and not options.compile and not scaler.is_enabled():
        stepper.recorded = RecordedPasses(module)
    statistics = RunningStatistics(network, ranks, stepper.mini_batches)
    sets = [train] if joint is None else [train, joint]
    fingerprint = _fingerprint(network.plan, stepper, options, sets)
    return Run(
        network=network,
        solver=solver,
        stepper=stepper,
        statistics=statistics,
        options=options,
        ranks=ranks,
        fingerprint=fingerprint,
        eval_every=options.eval_every or max(FEWEST, -(-EPOCHS * len(train) // net.batch)),
        last=net.max_batches,
        score=None
        if val is None
        else partial(
            score_of,
            dataset=val,
            points=options.points,
            batch_size=min(stepper.mini_batch, LARGEST_BATCH),
        ),
        score_name="mAP@0.50" if network.plan.heads else "top 1",
    )


def _how(run: Run) -> str:
    """Return a line on how a batch is computed."""
    device, fixed = run.stepper.device, run.fingerprint
    parts, dtype = fixed["subdivisions"], fixed["dtype"]
    where = "the processor" if device.type == "cpu" else str(device)
    in_parts = f"in {parts} part{'s' if parts > 1 else ''}"
    line = f"batches of {run.stepper.images} {in_parts}, in {dtype} on {where}"
    wanted = run.network.plan.net.subdivisions
    if parts != wanted and run.options.subdivisions != "auto":
        line += f"; more parts than the {wanted} of the cfg, which do not fit into memory"
    if SizeSchedule(run.network.plan).counts_vary:
        line += "; more images where they are smaller (dynamic_minibatch)"
    return line


def _subdivisions(stepper: Stepper, module: LossInputs, options: TrainOptions) -> int:
    """Return the subdivisions that fit into memory with the largest size of input."""
    plan, device = stepper.plan, stepper.device
    size = SizeSchedule(plan, options.seed).largest

    def forward(images: int) -> Tensor:
        x = as_input(torch.zeros(images, plan.input.c, *size), device)
        truth = no_objects(plan, images, size).to(device)
        return total_loss(stepper.losses(x, truth, LossContext(size)))

    statistics = RunningStatistics(module.network, stepper.ranks, 1)
    statistics.begin(0.0)  # a try is to leave no trace
    try:
        return fitting_subdivisions(
            stepper.batch,
            stepper.subdivisions,
            forward,
            module,
            ranks=stepper.ranks.size,
            fewest=options.subdivisions == "auto",
        )
    finally:
        statistics.end()


def _fingerprint(
    plan: Plan, stepper: Stepper, options: TrainOptions, sets: Sequence[Dataset]
) -> dict[str, Any]:
    """Return what must be the same for a training to go on, see `state_checks.LATER`."""
    same = ("freeze", "batch_norm", "augment", "weighted", "joint_share", "seed")
    return {
        "cfg": cfg_text(plan),
        "dialect": plan.context.dialect.name,
        "input": list(plan.input),
        "names": "\n".join(sets[0].names),
        "data": data_digest(sets),
        "batch": stepper.images,
        "subdivisions": stepper.subdivisions,
        "dtype": type_name(stepper.dtype),
        **{name: getattr(options, name) for name in same},
    }


def cfg_text(plan: Plan) -> str:
    """Return the cfg without the option that may change while a training goes on."""
    lines = parser.write(plan.sections).splitlines()
    return "\n".join(line for line in lines if not line.startswith("max_batches"))


def start_course(run: Run) -> None:
    """Count from the images that the weights' header names, as Darknet does, or from none."""
    header, batch, fixed = run.network.header, run.stepper.images, run.fingerprint
    seen = 0 if run.options.clear else header.seen
    if seen // batch >= run.last:
        raise UsageError(
            f"the weights have seen {seen} images, which are {seen // batch} batches;"
            f" max_batches={run.last} are done; clear=True (--clear) counts from 0"
        )
    run.course = Course(
        subdivisions=fixed.get("subdivisions", 0),
        dtype=fixed.get("dtype", "auto"),
        first=seen // batch,
        batches=seen // batch,
        seen=seen,
        start=run_files.start_of(run),
    )


def open_folder(run: Run) -> None:
    """Create the folder with the cfg and the names, and open the log."""
    if not run.is_first:
        return
    options = run.options
    try:
        options.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{options.path}: cannot be made: {error.strerror}") from error
    run.write_text(".cfg", run.network.plan.text)
    copy_named_files(run.network.plan, options.path)
    if run.network.names:  # a text has none
        run.write_text(".names", "".join(f"{name}\n" for name in run.network.names))
    run.log = MetricsLog(options.path, run.course.batches, tensorboard=options.tensorboard)


def _open_batches(run: Run, train: Dataset, joint: Dataset | None) -> None:
    """Begin to read images, and draw those of the first batch."""
    options, plan, parts = run.options, run.network.plan, run.fingerprint["subdivisions"]
    sizes, most = SizeSchedule(plan, options.seed), run.stepper.images
    on_card = run.stepper.device.type == "cuda"
    source = batches(
        train,
        plan,
        AugmentOptions.of(plan, augment=options.augment, colour_later=on_card, place_later=on_card),
        batch=most,
        seed=options.seed,
        start=run.course.batches,
        workers=spare_workers(run.stepper.device, run.ranks.size)
        if options.workers is None
        else options.workers,
        cache=options.cache,
        cache_folder=options.path,
        pinned=on_card,
        weighted=options.weighted,
        joint=joint,
        joint_share=options.joint_share,
        rank=run.ranks.rank,
        ranks=run.ranks.size,
        size_of=sizes,
        images_of=(lambda number: parts * sizes.images(number, most // parts))
        if sizes.counts_vary
        else None,
    )
    if run.course.stopped is not None:
        return
    first = next(source)
    uploads = Uploaded(chain([first], source), run.stepper.device)
    run.batches, run.stepper.following = uploads, uploads
    if run.is_first and not run.course.batches:
        draw_first_batch(first.on("cpu"), run.network, options.path / "batch-0.jpg")
