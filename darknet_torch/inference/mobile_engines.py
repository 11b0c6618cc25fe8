"""NCNN and LiteRT: engines of telephones and small boards, which take one image at a time.

Both compute in float32 here, so that the numbers are Darknet's. Files that we wrote name their
outputs; those of other converters are taken in the order of the names, `out2` before `out10`.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darknet_torch.data.dataset import Array
from darknet_torch.errors import UsageError

__all__ = ["start_litert", "start_ncnn"]

MAX_PARAM = 1 << 24
"""Bytes of a .param file; those of the largest networks have some 100 kB."""
NAMED = re.compile(r"(raw|out)\d+|output|boxes|scores")
"""Outputs of files that we wrote, and of pnnx."""
MAGIC = 7767517
IN_HALF = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")
"""Options of NCNN, on by default, which trade digits for speed."""


def start_ncnn(path: Path) -> Callable[[Array], Sequence[Any]]:
    """Return a function that runs X.param, with X.bin beside it, in NCNN.

    Raises:
        UsageError: one of the two cannot be read, or does not fit the other.
    """
    import ncnn

    weights = path.with_suffix(".bin")
    _check_param(path)
    if not weights.is_file():
        raise UsageError(f"its weights, {weights}, are missing")
    net = ncnn.Net()
    for option in IN_HALF:
        setattr(net.opt, option, False)
    net.opt.num_threads = torch.get_num_threads()
    if net.load_param(str(path)):
        raise UsageError("it has a layer that this version of NCNN cannot read")
    if net.load_model(str(weights)):
        raise UsageError(f"{weights} has not the weights that it needs")
    (image_name,), names = net.input_names(), _outputs(net.output_names())

    def run(image: Array) -> list[Array]:
        extractor = net.create_extractor()
        extractor.input(image_name, ncnn.Mat(image).clone())
        return [_extracted(extractor, name) for name in names]

    return _one_by_one(run)


def _extracted(extractor: Any, name: str) -> Array:
    status, output = extractor.extract(name)
    if status:
        raise UsageError(f"output {name} cannot be computed (status {status})")
    return np.array(output)


def _check_param(path: Path) -> None:
    """Refuse a .param file that is cut or inconsistent: NCNN would write beyond its memory.

    The layout: a magic number; the numbers of layers and blobs; a line for each layer, with its
    type, name, numbers of inputs and outputs, and their names.
    """
    if path.stat().st_size > MAX_PARAM:
        raise UsageError(f"it is larger than {MAX_PARAM >> 20} MB")
    lines = path.read_bytes().decode("ascii", "replace").splitlines()
    rows = [line.split() for line in lines if line.strip()]
    try:
        (magic,), (layers, blobs) = (list(map(int, row)) for row in rows[:2])
    except ValueError:
        magic = layers = blobs = 0
    if magic != MAGIC:
        raise UsageError("it does not begin as a .param file of NCNN does")
    if layers != len(rows) - 2:
        raise UsageError(f"it has {len(rows) - 2} layers, and promises {layers}; it may be cut")
    made: set[str] = set()
    for row in rows[2:]:
        inputs, outputs = _wiring(row)
        if missing := [name for name in inputs if name not in made]:
            raise UsageError(f"layer {row[1]} reads {missing[0]}, which no layer before it yields")
        if twice := [name for name in outputs if name in made]:
            raise UsageError(f"layer {row[1]} yields {twice[0]}, which another one yields")
        made.update(outputs)
    if not len(made) <= blobs <= 2 * len(lines) + len(made):
        raise UsageError(f"it has {len(made)} blobs, and promises {blobs}")


def _wiring(row: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names of a layer's inputs and outputs."""
    try:
        counts = [int(each) for each in row[2:4]]
        reads, yields = counts
    except ValueError:
        counts, reads, yields = [-1], 0, 0
    names = list(row[4 : 4 + reads + yields])
    if min(counts) < 0 or len(names) < reads + yields:
        raise UsageError(f"the line of layer {' '.join(row[:2])} is cut")
    return names[:reads], names[reads:]


def start_litert(path: Path) -> Callable[[Array], Sequence[Any]]:
    """Return a function that runs a .tflite file in LiteRT.

    Raises:
        ValueError: of LiteRT, for a file that it cannot read or whose operators it has not.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=torch.get_num_threads())
    interpreter.allocate_tensors()
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:  # of converters that name no outputs
        return _one_by_one(lambda image: _invoked(interpreter, image))
    ((name, names),) = signatures.items()
    (image_name,) = names["inputs"]
    runner = interpreter.get_signature_runner(name)

    def run(image: Array) -> list[Array]:
        outputs = runner(**{image_name: image[None]})
        return [outputs[each][0] for each in _in_order(outputs)]

    return _one_by_one(run)


def _invoked(interpreter: Any, image: Array) -> list[Array]:
    (source,) = interpreter.get_input_details()
    interpreter.set_tensor(source["index"], image[None])
    interpreter.invoke()
    return [interpreter.get_tensor(each["index"])[0] for each in interpreter.get_output_details()]


def _one_by_one(run: Callable[[Array], list[Array]]) -> Callable[[Array], Sequence[Any]]:
    """Return a function of (B, ...) that runs another one, of one image, for each of a batch."""

    def run_batch(x: Array) -> Sequence[Any]:
        return [np.stack(parts) for parts in zip(*map(run, x), strict=True)]

    return run_batch


def _outputs(names: Sequence[str]) -> list[str]:
    """Return the names of the outputs; parts that are cut off and left over are not meant."""
    return _in_order([name for name in names if NAMED.fullmatch(name)] or names)


def _in_order(names: Sequence[str]) -> list[str]:
    """Sort names by their texts, and by the number at their end."""

    def key(name: str) -> tuple[str, int]:
        text, number = re.fullmatch(r"(.*?)(\d{0,9})", name, re.DOTALL).groups()  # type: ignore[union-attr]
        return text, int(number or 0)

    return sorted(names, key=key)
