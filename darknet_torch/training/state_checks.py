"""Whether a file is the state of this training: what must be equal, and what else differs."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from darknet_torch.data.dataset import Dataset
from darknet_torch.errors import UsageError, WeightsError
from darknet_torch.network.network import Network
from darknet_torch.training.starting import steps_of

__all__ = [
    "data_digest",
    "matching",
    "must_be",
    "must_equal",
    "optimizer_state",
    "part_of",
    "values_digest",
]

VALUES = 256
"""So many of each tensor are part of a digest, at least."""
LATER = ("dialect", "input", "names")
"""Keys that states of older versions lack."""


def data_digest(sets: Sequence[Dataset]) -> str:
    """Return a digest of the images' paths and of all ground truth that a training may read."""
    digest = hashlib.sha256()
    for sample in (each for dataset in sets for each in dataset.samples):
        truth = sample.ground_truth
        digest.update(f"{sample.path} {sample.label}".encode(errors="surrogateescape"))
        for column in (truth.xyxy, truth.class_id, truth.difficult, truth.crowd):
            digest.update(column.tobytes())
        for outline in truth.outlines:
            if outline is not None:
                digest.update(f"{outline.size} {outline.by_row}".encode())
                for part in (*outline.polygons, outline.runs):
                    digest.update(b"-" if part is None else part.tobytes())
    return digest.hexdigest()[:16]


def values_digest(network: Network) -> str:
    """Return a digest of some values of each tensor of a network: other weights have another.

    What batch norm counts (whole numbers, which a try of the memory changes) is no part of it.
    """
    digest = hashlib.sha256()
    state = network.state_dict().items()
    for name, tensor in ((name, each) for name, each in state if each.is_floating_point()):
        values = tensor.detach().flatten()
        some = values[:: max(1, len(values) // VALUES)].float().cpu()
        digest.update(name.encode())
        digest.update(some.numpy().tobytes())
    return digest.hexdigest()[:16]


def must_equal(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise UsageError with each key whose value differs; older states lack some."""
    before, now = _without_own_steps(before), _without_own_steps(now)
    keys = [key for key in {**before, **now} if key in before or key not in LATER]
    differ = [
        _difference(k, before.get(k), now.get(k)) for k in keys if before.get(k) != now.get(k)
    ]
    if differ:
        raise UsageError(f"{path}: is the state of another training: {'; '.join(differ)}")


def _without_own_steps(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fingerprint whose cfg has no steps that follow from `max_batches`, as both change.

    Those that `schedule_for` makes are at 80 and 90 % of some number.
    """

    def without(match: re.Match[str]) -> str:
        first, second = int(match[1]), int(match[2])
        some = second * 10 // 9
        is_own = any(steps_of(some + n) == (first, second) for n in range(3))
        return "steps=80 %,90 %" if is_own else match[0]

    cfg = str(fingerprint.get("cfg", ""))
    short = re.sub(r"^steps=(\d{1,18}),(\d{1,18})$", without, cfg, flags=re.MULTILINE)
    return {**fingerprint, "cfg": short}


def _difference(key: str, before: Any, now: Any) -> str:
    """Return what differs, in a word; of texts the first line that does."""
    if isinstance(before, str) and isinstance(now, str):
        lines = [text.splitlines() for text in (before, now)]
        count = min(map(len, lines))
        first = next((n for n in range(count) if lines[0][n] != lines[1][n]), count)
        before, now = ("".join(each[first : first + 1]) for each in lines)
        key = f"{key}, line {first + 1}," if max(map(len, lines)) > 1 else key
    return f"{key} was {before!r:.60}, is {now!r:.60}"


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `part.`, by the rest of the name."""
    start = f"{part}."
    return {
        name.removeprefix(start): each for name, each in tensors.items() if name.startswith(start)
    }


def matching(
    path: Path, tensors: Mapping[str, Tensor], part: str, expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors of a part, which must be those that are expected."""
    found = part_of(tensors, part)
    if found.keys() != expected.keys():
        name = min(found.keys() ^ expected.keys())
        state = "has" if name in found else "lacks"
        raise UsageError(f"{path}: is the state of another training: it {state} {part}.{name}")
    for name, each in expected.items():
        must_be(path, f"{part}.{name}", found[name], each)
    return found


def must_be(path: Path, name: str, tensor: Tensor, like: Tensor) -> None:
    """Raise UsageError if a tensor has another shape or type."""
    if tensor.shape != like.shape or tensor.dtype != like.dtype:
        was, now = ([tuple(each.shape), each.dtype] for each in (tensor, like))
        raise UsageError(
            f"{path}: is the state of another training: {name} has shape {was[0]}, {was[1]},"
            f" not {now[0]}, {now[1]}"
        )


def optimizer_state(
    path: Path, tensors: Mapping[str, Tensor], optimizer: Optimizer
) -> dict[int, dict[str, Tensor]]:
    """Return the state of each parameter: tensors of its shape, and counts."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in part_of(tensors, "optimizer").items():
        index, _, key = name.partition(".")
        if not index.isdecimal() or int(index) >= len(parameters):
            raise WeightsError(f"{path}: optimizer.{name}: there is no such parameter")
        if tensor.dim():
            like = parameters[int(index)]
            must_be(path, f"optimizer.{name}", tensor, like)
            tensor = torch.empty_like(like).copy_(tensor)  # fused kernels need the same layout
        state.setdefault(int(index), {})[key] = tensor
    return state
