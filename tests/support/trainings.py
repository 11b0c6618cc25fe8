"""Networks that are trained a little: three steps of every cfg, and more where it is worth it.

Every cfg with a loss takes three steps at batch 2 and a small size, on random images with plausible
ground truth, through the solver and the stepper of `train`: losses and gradients must be finite,
every parameter that is trained must get one, and the weights file must give the same network.
One network of each family must learn one batch by heart.
"""

import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from keys import NAMES, OFFICIAL_CFG, ROOT
from subjects import PJREDDIE_ONLY

import darknet_torch as dt
from darknet_torch import zoo
from darknet_torch.distributed import Ranks
from darknet_torch.errors import DarknetError, DarknetWarning, ShapeError
from darknet_torch.layers.truth import Truth
from darknet_torch.network import Network, weights_file
from darknet_torch.network.editing import with_options
from darknet_torch.network.plan import Plan
from darknet_torch.training.class_examples import class_values
from darknet_torch.training.losses import LossInputs
from darknet_torch.training.solver import Solver
from darknet_torch.training.step import BatchLoss, Stepper

SIDES = (64, 96, 128, 192, 256, 384, 512)
"""Sides of the input: the first that fits, else that of the cfg."""
ENOUGH = 4
"""Pixels of the smallest map with batch norm: of two values it makes 1 and -1, whose gradient is
the larger the closer they were."""
STEPS, LEARNING_STEPS = 3, 30
HEADER = 20
GENTLE = {"batch": 2, "subdivisions": 1, "learning_rate": 1e-5, "policy": "constant", "burn_in": 0}
"""Options in place of those of the cfg: some diverge at its rate from random values, and
yolov1/yolo-small, which has no batch norm, at ten times this one."""
WITHOUT_LOSS = "no layer has a loss"
"""In the error for cfgs that are parts of a network, which Darknet does not train either."""

LEARNERS: Mapping[str, float] = {
    "pjreddie/yolov1-tiny": 1e-3,
    "pjreddie/yolov2-tiny": 1e-4,
    "pjreddie/yolov3-tiny": 1e-3,
    "alexeyab/yolov4-tiny": 1e-3,
    "alexeyab/yolov7-tiny": 1e-3,
    "alexeyab/Gaussian_yolov3_BDD": 1e-4,
    "pjreddie/darknet19": 1e-2,
    "pjreddie/resnet50": 1e-2,
    "alexeyab/densenet201": 1e-2,
    "alexeyab/crnn.train": 1e-3,
    "alexeyab/rnn.train": 1e-1,
    "alexeyab/tiny-yolo_xnor": 1e-3,
}
"""One network of each family, and a learning rate with which it learns by heart."""


@dataclass
class Result:
    """What came of one cfg; `error` is a ratio of losses, where they are compared."""

    name: str
    variant: str
    state: str = "ok"
    error: float = 0.0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def names() -> list[str]:
    """Return the cfgs at hand: those of the forks and of this project."""
    paths = sorted(OFFICIAL_CFG.rglob("*.cfg"))
    cfgs = [path.relative_to(OFFICIAL_CFG).as_posix().removesuffix(".cfg") for path in paths]
    return cfgs + [f"cfg/{path.stem}" for path in sorted((ROOT / "cfg").glob("*.cfg"))]


def cfg_of(name: str) -> Path:
    """Return the file of a cfg."""
    folder = ROOT if name.startswith("cfg/") else OFFICIAL_CFG
    return folder / f"{name}.cfg"


def make(name: str) -> Network:
    """Return a network of random values at a small size, for batches of two images."""
    dialect: str | None = name.partition("/")[0]
    dialect = "pjreddie" if name in PJREDDIE_ONLY else dialect
    if dialect not in ("pjreddie", "alexeyab"):
        models = map(zoo.find_model, zoo.list_models())
        dialect = next(each.dialect for each in models if f"cfg/{each.cfg}" == name)
    cfg, options = cfg_of(name), dict[str, Any](dialect=dialect, mode="darknet")
    own = dt.plan(cfg, **options)
    enough = min(ENOUGH, smallest_normalized(own))
    sides = dict[str, Any]()
    for side in SIDES if own.input.h else ():
        with suppress(ShapeError):
            if smallest_normalized(dt.plan(cfg, width=side, height=side, **options)) >= enough:
                sides = {"width": side, "height": side}
                break
    torch.manual_seed(0)
    return with_options(dt.build(cfg, **sides, **options), GENTLE)


def smallest_normalized(plan: Plan) -> float:
    """Return the pixels of the smallest map that batch norm normalises; infinite without any."""
    sizes = [
        max(node.shape.h * node.shape.w, 1)
        for node in plan
        if any(segment.kind == "rolling_mean" for segment in node.segments)
    ]
    return min(sizes, default=math.inf)


def truth_for(plan: Plan, images: int, seed: int = 0) -> Truth:
    """Return random, plausible ground truth of images: boxes for heads, values for other losses."""
    random = torch.Generator().manual_seed(seed)
    objects = 3
    sizes = 0.1 + 0.4 * torch.rand(images, objects, 2, generator=random)
    centres = sizes / 2 + (1 - sizes) * torch.rand(images, objects, 2, generator=random)
    classes = max(plan.classes, 1)
    class_id = torch.randint(classes, (images, objects), generator=random)
    yes = torch.ones(images, objects, dtype=torch.bool)
    ids = torch.arange(objects).expand(images, -1)
    if plan.net.contrastive:  # pairs of images have the same objects
        class_id[1::2] = class_id[: len(class_id) // 2 * 2 : 2]
    truth = Truth(torch.cat((centres, sizes), 2), class_id, yes, yes.clone(), object_id=ids)
    if plan.heads:
        return truth
    count = plan[plan.final].shape.size
    trees = [node.layer.word_tree for node in plan if node.layer.word_tree is not None]
    labels = torch.randint(count, (images,), generator=random).tolist()
    rows = [class_values(label, count, 0.0, trees[-1] if trees else None) for label in labels]
    return replace(truth, values=torch.stack(rows))


@dataclass
class Training:
    """A network with its solver, stepper and one batch."""

    network: Network
    batch: int = 2
    seen: int = 0

    def __post_init__(self) -> None:
        plan = self.network.plan
        self.solver = Solver(self.network)
        device = torch.device("cpu")
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        self.stepper = Stepper(
            plan, LossInputs(self.network), device, torch.float32, self.batch, 1, Ranks(), scaler
        )
        shape = plan.input
        one = (shape.c,) if shape.is_vector else (shape.c, shape.h, shape.w)
        random = torch.Generator().manual_seed(1)
        self.images = torch.rand((self.batch, *one), generator=random)
        self.truth = truth_for(plan, self.batch)

    def step(self, number: int) -> tuple[BatchLoss, list[str], list[str]]:
        """Take a step; return its loss, the parameters with bad gradients, those without any."""
        self.solver.begin()
        loss = self.stepper.gradients(self.images, self.truth, self.seen, number)
        self.seen += self.batch
        bad, none = [], []
        for name, parameter in self.network.named_parameters():
            if parameter.grad is None:
                none += [name] * parameter.requires_grad
            elif not parameter.grad.isfinite().all():
                bad.append(name)
        self.solver.step(number)
        return loss, bad, none


def measure(name: str, threads: int) -> list[Result]:
    """Return the results of one cfg."""
    if threads:
        torch.set_num_threads(threads)
    os.environ["DARKNET_TORCH_CACHE"] = str(NAMES)  # the cfgs name the trees and maps in there
    checks = {"three steps": partial(three_steps, partial(make, name))}
    if name in LEARNERS:
        checks["learns"] = partial(learns, name)
    results = []
    for variant, check in checks.items():
        result, start = Result(name, variant), time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DarknetWarning)
                check(result)
        except DarknetError as error:
            exempt = WITHOUT_LOSS in str(error)
            (result.notes if exempt else result.failures).append(str(error))
            result.state = "exempt"
        result.state = "FAILED" if result.failures else result.state
        result.seconds = time.monotonic() - start
        results.append(result)
    return results


def three_steps(make_network: Callable[[], Network], result: Result) -> None:
    """Check losses, gradients and the weights file of three steps."""
    network = make_network()
    training = Training(network)
    for number in range(1, STEPS + 1):
        loss, bad, none = training.step(number)
        if loss.layers or not math.isfinite(loss.cost):
            result.failures.append(f"step {number}: loss {loss.cost}, layers {loss.layers}")
        result.failures += [f"step {number}: gradient of {each} is not finite" for each in bad]
    result.failures += [f"{each}: gets no gradient" for each in none if not unread(network, each)]
    result.notes += [f"{each}: no loss reads it" for each in none if unread(network, each)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "it.weights"
        weights_file.write(network, path)
        count = sum(each.count for node in network.plan for each in node.segments)
        if path.stat().st_size != HEADER + 4 * count:
            result.failures.append(f"{path.stat().st_size} bytes for {count} values")
        again = make_network()
        weights_file.read(again, path)
        result.failures += [
            f"{key}: read back with other values"
            for key, value in again.state_dict().items()
            if value.is_floating_point() and not torch.equal(value, network.state_dict()[key])
        ]


def unread(network: Network, parameter: str) -> bool:
    """Return whether no loss depends on a parameter."""
    index = int(parameter.split(".")[1])
    return index not in {step.index for step in LossInputs(network).steps}


def learns(name: str, result: Result) -> None:
    """Check that the loss of one batch falls."""
    network = with_options(make(name), {"learning_rate": LEARNERS[name]})
    training = Training(network)
    losses = [
        sum(training.step(number)[0].parts.values()) for number in range(1, LEARNING_STEPS + 1)
    ]
    result.error = losses[-1] / losses[0]
    result.notes.append(f"loss {losses[0]:.4g} -> {losses[-1]:.4g}")
    if not losses[-1] < 0.7 * losses[0]:
        result.failures.append(f"the loss does not fall: {losses[0]:.4g} -> {losses[-1]:.4g}")
