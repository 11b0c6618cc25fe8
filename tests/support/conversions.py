"""One network optimised, and as files in other engines: the numbers that it gives itself."""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from subjects import Subject, fixes_size, stride
from torch import Tensor
from variants import (
    EQUAL,
    REAL_BATCH,
    SIGNS,
    Exempt,
    Outcome,
    Result,
    has_signs,
    outputs,
    worst_error,
)
from variants import measure as measure_variants

from darknet_torch.exporters.export import export
from darknet_torch.exporters.tracing import prepared
from darknet_torch.inference import engines, metadata
from darknet_torch.inference.converted import Converted
from darknet_torch.network.folding import fold
from darknet_torch.speed.onednn_graph import has_tiny_layers
from darknet_torch.speed.optimized import optimize

BOXES = 1e-4


def measure(name: str, threads: int = 0) -> list[Result]:
    """Convert one network in every way, and return what happens in the answers."""
    return measure_variants(name, threads, CONVERSIONS)


def optimized(subject: Subject) -> Outcome:
    """`optimize` without a compiler: batches, and another size where there can be one."""
    outcome, ways = Outcome(), {"optimized": False}
    if has_tiny_layers(fold(subject.network)):
        ways["a graph of oneDNN"] = True
    for way, compiles in ways.items():
        for x in _inputs(subject, sized=not fixes_size(subject.plan)):
            fast = optimize(subject.network, compile=compiles)
            subject.network.reset()
            want = outputs(subject.network, x)
            outcome.compare(f"{way} {tuple(x.shape)}", outputs(fast, x), want, _limit(subject))
    if outcome.failures and has_signs(subject):
        raise Exempt(SIGNS)
    return outcome


def onnx(subject: Subject, contents: Literal["raw", "boxes"], names: Sequence[str]) -> Outcome:
    """One dynamic ONNX file in each engine: batches 1 and 3, another size."""
    if subject.network.stateful:
        raise Exempt("recurrent: a file keeps no state")
    if contents == "boxes" and not subject.plan.heads:
        raise Exempt("no boxes: it is a classifier")
    outcome, plain = Outcome(), prepared(subject.network, contents)
    with tempfile.TemporaryDirectory(prefix="darknet-torch-onnx-") as folder:
        path = Path(folder) / "net.onnx"
        export(subject.network, path, contents=contents)
        origin = metadata.read_origin(path)
        for name in (name for name in names if engines.installed(name)):
            # OpenCV is for detectors
            if name == "opencv" and not subject.plan.heads:
                continue
            run = Converted(path, subject.plan, (), name, origin)
            for x in _inputs(subject, sized=origin.dynamic_size):
                limit = _limit(subject) if contents == "raw" else BOXES
                got, want = outputs(run, x), outputs(plain, x)
                outcome.compare(f"{name} {tuple(x.shape)}", got, want, limit)
                if worst_error(got, want) == 0 and not want[0].any():
                    outcome.failures.append("all outputs are zero, so nothing is tested")
    return outcome


def _inputs(subject: Subject, *, sized: bool) -> list[Tensor]:
    batches = [subject.images(1), subject.images(3)]
    if sized:
        (height, width), (rows, columns) = subject.size, stride(subject.plan)
        batches.append(subject.images(2, (height + rows, width + 2 * columns)))
    return batches


def _limit(subject: Subject) -> float:
    return REAL_BATCH if subject.real else EQUAL


CONVERSIONS: dict[str, Callable[[Subject], Outcome]] = {
    "optimized": optimized,
    "onnx raw": partial(onnx, contents="raw", names=("onnxruntime", "opencv")),
    "onnx boxes": partial(onnx, contents="boxes", names=("onnxruntime", "openvino", "opencv")),
}
