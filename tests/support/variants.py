"""One network, many ways to run it: batches, sizes, memory formats, precisions, compilers.

The reference is a float32 run of one image; the answer keys compare that with Darknet.
A variant is a function of a `Subject` that returns an `Outcome`, or raises Exempt.
"""

import copy
import gc
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from keys import NAMES, relative_error
from subjects import Size, Subject, fixes_size, make, stride
from torch import Tensor, nn

from darknet_torch.errors import ShapeError
from darknet_torch.network import Network, State
from darknet_torch.network import network as network_module

EQUAL = 5e-5
REAL_BATCH = 1e-5
LIMITS = {torch.bfloat16: 3e-2, torch.float16: 1e-2}
"""Largest errors that pass, relative to the head's largest magnitude."""

SIGNS = "xnor: rounding flips signs, and a sign is all that a value has"


class Exempt(Exception):  # noqa: N818 (it is no error)
    """The variant does not apply; the message says why."""


@dataclass
class Outcome:
    """error: largest difference over the largest magnitude, of any head."""

    error: float = 0.0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def compare(
        self, what: str, actual: Sequence[Tensor], expected: Sequence[Tensor], limit: float
    ) -> None:
        """Compare all heads; what is not near enough is a failure."""
        worst = worst_error(actual, expected)
        self.error = max(self.error, worst)
        if not worst <= limit:
            self.failures.append(f"{what}: error {worst:.3g}, limit {limit:g}")


@dataclass(frozen=True)
class Result:
    """What came of one variant of one network; state: `ok`, `FAILED` or `exempt`."""

    name: str
    variant: str
    state: str
    error: float
    seconds: float
    failures: list[str]
    notes: list[str]


Variants = dict[str, Callable[[Subject], Outcome]]


def measure(name: str, threads: int = 0, variants: Variants | None = None) -> list[Result]:
    """Run all variants of one network; what goes wrong stands in the results."""
    variants = VARIANTS if variants is None else variants
    if threads:
        torch.set_num_threads(threads)
    os.environ["DARKNET_TORCH_CACHE"] = str(NAMES)  # the cfgs name the trees and maps in there
    with tempfile.TemporaryDirectory(prefix="darknet-torch-variants-") as folder:
        try:
            subject = make(name, Path(folder) / "net.weights")
        except Exception as problem:  # one broken network must not end the sweep
            return [_failed(name, variant, problem, 0.0) for variant in variants]
        try:
            return [run(subject, variant, variants) for variant in variants]
        finally:
            torch._dynamo.reset()  # compiled code keeps its network alive
            gc.collect()


def run(subject: Subject, variant: str, variants: Variants | None = None) -> Result:
    """Run one variant; what it raises is its failure."""
    functions = VARIANTS if variants is None else variants
    start = time.monotonic()
    try:
        with torch.no_grad():
            outcome = functions[variant](subject)
    except Exempt as reason:
        seconds = time.monotonic() - start
        return Result(subject.name, variant, "exempt", 0.0, seconds, [], [str(reason)])
    except Exception as problem:
        return _failed(subject.name, variant, problem, time.monotonic() - start)
    state, seconds = "FAILED" if outcome.failures else "ok", time.monotonic() - start
    return Result(
        subject.name, variant, state, outcome.error, seconds, outcome.failures, outcome.notes
    )


def _failed(name: str, variant: str, problem: Exception, seconds: float) -> Result:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()][:6]
    message = f"{type(problem).__name__}: {' | '.join(lines)}"
    return Result(name, variant, "FAILED", math.inf, seconds, [message], [])


def outputs(run: Callable[[Tensor], Any], x: Tensor) -> tuple[Tensor, ...]:
    """Return all heads' raw maps, or the only output; without any memory of earlier runs."""
    if isinstance(run, Network):
        run.reset()
    answer = run(x)
    return answer if isinstance(answer, tuple) else (answer,)


def worst_error(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the largest relative error of any head."""
    pairs = zip(actual, expected, strict=True)
    return max(relative_error(a.float().numpy(), b.float().numpy()) for a, b in pairs)


def batch(subject: Subject) -> Outcome:
    """A batch of three images has the outputs of each alone."""
    xs, outcome = subject.images(3), Outcome()
    run = partial(_thrice, subject.network) if subject.network.stateful else subject.network
    singles = [outputs(run, x[None]) for x in xs]
    if all(torch.equal(a, b) for a, b in zip(singles[0], singles[1], strict=True)):
        outcome.failures.append("two images have one output, so nothing is tested")
    expected = [torch.cat(each) for each in zip(*singles, strict=True)]
    limit = REAL_BATCH if subject.real else EQUAL
    outcome.compare("batch of 3", outputs(run, xs), expected, limit)
    return outcome


def _thrice(network: Network, x: Tensor) -> Any:
    """Run so often that the state matters."""
    state: State = {}
    for _ in range(3):
        result, state = network.step(x, state)
    return result


def size(subject: Subject) -> Outcome:
    """Another size: what a network loaded for it gives, or ShapeError before any computing."""
    if subject.plan.input.is_vector:
        raise Exempt("the input is a vector")
    outcome, (height, width), (rows, columns) = Outcome(), subject.size, stride(subject.plan)
    bound, other = fixes_size(subject.plan), (height + rows, width + columns)
    refused = _refused_or_equal(subject, other, outcome)
    if refused != bound:
        outcome.failures.append(f"{other}: {'refused' if refused else 'taken'}, which is wrong")
    for odd in ((1, 1), (height + 1, width + 1), (height + rows // 2, width)):
        if odd != (height, width):
            _refused_or_equal(subject, odd, outcome)
    return outcome


def _refused_or_equal(subject: Subject, size: Size, outcome: Outcome) -> bool:
    """Run at a size; return whether it was refused."""
    x = subject.images(1, size)
    with _counting(subject.network) as ran:
        try:
            actual = outputs(subject.network, x)
        except ShapeError:
            if ran:
                outcome.failures.append(f"{size}: refused after {len(ran)} layers were computed")
            return True
    outcome.compare(str(size), actual, outputs(subject.load(size), x), EQUAL)
    return False


@contextmanager
def _counting(network: Network) -> Iterator[list[nn.Module]]:
    """List the layers that are about to run."""
    ran: list[nn.Module] = []
    hooks = [
        layer.register_forward_pre_hook(lambda module, _: ran.append(module))
        for layer in network.layers
    ]
    try:
        yield ran
    finally:
        for hook in hooks:
            hook.remove()


def channels_last(subject: Subject) -> Outcome:
    """Memory in the order of pixels: the same values."""
    if subject.plan.input.is_vector:
        raise Exempt("the input is a vector")
    x, outcome = subject.images(2), Outcome()
    network = copy.deepcopy(subject.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    actual = outputs(network, x.contiguous(memory_format=torch.channels_last))
    with mock.patch.object(network_module, "_in_fast_layout", lambda x, *_: x):
        planar = outputs(subject.network, x)
    outcome.compare("channels_last", actual, planar, EQUAL)
    return outcome


def has_signs(subject: Subject) -> bool:
    """Return whether a layer computes with the signs of its input alone."""
    return any(getattr(node.layer, "xnor", False) for node in subject.plan)


def precision(subject: Subject, dtype: torch.dtype) -> Outcome:
    """Half the bits: about the same values, and finite ones."""
    if subject.network.stateful:
        raise Exempt("recurrent: rounding adds up from step to step")
    if has_signs(subject):
        raise Exempt(SIGNS)
    x, outcome = subject.images(1), Outcome()
    with _peaks(subject.network) as wide:
        expected = outputs(subject.network, x)
    network = copy.deepcopy(subject.network).to(dtype)
    with _peaks(network) as narrow:
        actual = outputs(network, x.to(dtype))
    lost = [name for name, value in narrow.items() if not math.isfinite(value)]
    outcome.notes = [f"{name} overflows: {wide[name]:.3g} in float32" for name in lost[:3]]
    if lost and wide[lost[0]] > torch.finfo(dtype).max:
        raise Exempt(f"too large for {dtype}: {outcome.notes[0]}")
    outcome.compare(str(dtype), actual, expected, LIMITS[dtype])
    if outcome.failures and not lost:
        least = max(_rounding_error(subject.network, x[None], dtype) for x in subject.images(3))
        outcome.notes.append(f"rounding alone gives {least:.3g}")
        if outcome.error <= 3 * least:
            raise Exempt(f"the weights magnify rounding: {outcome.error:.3g}, {outcome.notes[-1]}")
    return outcome


def _rounding_error(network: Network, x: Tensor, dtype: torch.dtype) -> float:
    """Compute in float32 but round weights and what each module puts out; return the error."""
    twin = copy.deepcopy(network).to(dtype).float()
    for module in twin.modules():
        module.register_forward_hook(partial(_round, dtype))
    return worst_error(outputs(twin, x.to(dtype).float()), outputs(network, x))


def _round(dtype: torch.dtype, _module: nn.Module, _inputs: Any, output: Any) -> Any:
    return output.to(dtype).float() if isinstance(output, Tensor) else output


@contextmanager
def _peaks(network: Network) -> Iterator[dict[str, float]]:
    """Collect the largest magnitude of each module's output, in the order of computing."""
    magnitudes: dict[str, float] = {}

    def watch(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            magnitudes[name] = float(output.abs().max())

    modules = [(name, module) for name, module in network.named_modules() if name]
    hooks = [each.register_forward_hook(partial(watch, name)) for name, each in modules]
    try:
        yield magnitudes
    finally:
        for hook in hooks:
            hook.remove()


def compiled(subject: Subject) -> Outcome:
    """One graph for torch.compile: the very same values."""
    if subject.network.stateful:
        raise Exempt("recurrent: a Python dictionary keeps the state")
    x, outcome = subject.images(2), Outcome()
    if x.dim() == 4:  # as the network computes by itself, to the last bit
        x = x.contiguous(memory_format=torch.channels_last)
    torch._dynamo.reset()
    program = torch.compile(subject.network, fullgraph=True, backend="eager")
    outcome.compare("compile", outputs(program, x), outputs(subject.network, x), 0.0)
    return outcome


def exported(subject: Subject) -> Outcome:
    """One program for every batch and, where no layer fixes it, every size."""
    if subject.network.stateful:
        raise Exempt("recurrent: a Python dictionary keeps the state")
    outcome, dynamic = Outcome(), {0: torch.export.Dim("batch", min=1, max=64)}
    start, other = subject.size, subject.size
    if not fixes_size(subject.plan):
        steps = stride(subject.plan)
        cells = [max(2, -(-side // step)) for side, step in zip(subject.size, steps, strict=True)]
        cropped = any(node.name == "crop" for node in subject.plan)  # it needs a whole image
        for axis, name in enumerate(("rows", "columns")):
            least = cells[axis] if cropped else max(2, cells[axis] // 2)
            dim = torch.export.Dim(name, min=least, max=4 * cells[axis])
            dynamic[2 + axis] = steps[axis] * dim if steps[axis] > 1 else dim
        start = (steps[0] * cells[0], steps[1] * cells[1])
        other = (steps[0] * (cells[0] + 1), steps[1] * (cells[1] + 2))
    example = (subject.images(2, start),)
    program = torch.export.export(subject.network, example, dynamic_shapes=(dynamic,)).module()
    for x in (subject.images(1, start), subject.images(3, other)):
        what = f"export, {tuple(x.shape)}"
        outcome.compare(what, outputs(program, x), outputs(subject.network, x), EQUAL)
    return outcome


VARIANTS: Variants = {
    "batch": batch,
    "size": size,
    "channels_last": channels_last,
    "bfloat16": partial(precision, dtype=torch.bfloat16),
    "float16": partial(precision, dtype=torch.float16),
    "compile": compiled,
    "export": exported,
}
