"""NCNN: .param with its .bin beside it, for telephones and small boards."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from darknet_torch.errors import UsageError
from darknet_torch.exporters.other_python import run, suitable_python
from darknet_torch.exporters.staging import made_beside
from darknet_torch.exporters.torchscript import traced_at_one_size
from darknet_torch.exporters.tracing import Exported, example, prepared
from darknet_torch.network import Network

__all__ = ["write"]

TOLERANCE = {"float32": 1e-4, "float16": 2e-2}
"""Of the largest value; converted files that differ by more are refused."""


def write(
    network: Network,
    path: Path,
    *,
    dtype: Literal["float32", "float16"] = "float32",
    python: str | None = None,
) -> None:
    """Write X.param and X.bin: the raw maps `out0`, `out1` ... of one picture, its input `in0`.

    The input is float32 (C, H, W) in 0..1, RGB, of the cfg's size. There are no metadata; boxes
    are left out because pnnx converts their geometry to wrong numbers (20261020 did).
    dtype: of the weights in the file.
    python: an interpreter that has pnnx and ncnn; see `elsewhere`. NCNN runs what was made, and
    UsageError is raised where its numbers are others, or where a layer is not to be had.
    """
    python = suitable_python("pnnx", "ncnn", python)
    if dtype not in TOLERANCE:
        raise UsageError(f"dtype={dtype}: must be float32 or float16")
    exported = prepared(network)
    module = traced_at_one_size(exported)
    with made_beside(path) as folder:
        build = folder / "build"
        build.mkdir()
        module.save(str(build / "traced.pt"))
        _save_sample(exported, build)
        half, tolerance = dtype == "float16", TOLERANCE[dtype]
        run(python, convert, build=str(build), half=half, tolerance=tolerance)
        (build / "made.param").rename(folder / path.name)
        (build / "made.bin").rename(folder / path.with_suffix(".bin").name)
        for each in build.iterdir():
            each.unlink()
        build.rmdir()


def _save_sample(exported: Exported, folder: Path) -> None:
    """Save an input and what comes of it, for the check."""
    shape = example(exported.network, batch=1).shape
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = exported(images)
    outputs = found if isinstance(found, tuple) else (found,)
    np.savez(folder / "sample.npz", images, *outputs)


def convert(build: str, half: bool, tolerance: float) -> None:
    """Convert traced.pt to made.param and made.bin, and check; runs in the other Python."""
    import os
    import subprocess
    from pathlib import Path

    import ncnn
    import numpy as np
    import pnnx

    os.chdir(build)
    sample = np.load("sample.npz")
    images, *wanted = [sample[f"arr_{number}"] for number in range(len(sample.files))]
    shape = ",".join(map(str, images.shape))
    command = [pnnx.EXEC_PATH, "traced.pt", f"inputshape=[{shape}]", f"fp16={int(half)}"]
    files = ["ncnnparam=made.param", "ncnnbin=made.bin"]
    subprocess.run([*command, *files], check=True, capture_output=True)
    if not Path("made.param").exists():
        raise SystemExit("pnnx could not convert the network")
    types = [line.split()[0] for line in Path("made.param").read_text().splitlines()[2:]]
    if strange := [name for name in types if "." in name or ":" in name]:
        raise SystemExit(f"NCNN has no layer for {strange[0]}")
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param("made.param") or net.load_model("made.bin"):
        raise SystemExit("NCNN cannot read what pnnx made")
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(images[0]).clone())
    for number, each in enumerate(wanted):
        status, found = extractor.extract(f"out{number}")
        found = np.array(found)
        if status or found.size != each.size:
            raise SystemExit(f"NCNN does not yield output {number} of what pnnx made")
        error = abs(found.reshape(each[0].shape) - each[0]).max() / max(abs(each).max(), 1e-6)
        if not error <= tolerance:
            raise SystemExit(f"NCNN computes output {number} {error:.1%} off from what pnnx made")
