"""NCNN: .param with its .bin beside it, for telephones and small boards."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from darknet_torch.errors import UsageError
from darknet_torch.exporters.other_python import run, suitable_python
from darknet_torch.exporters.staging import must_not_replace, staging_folder
from darknet_torch.exporters.torchscript import save, traced_at_one_size
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
    """Write X.param and X.bin: the raw maps `out0`, `out1` ... of one image, its input `in0`.

    The input is float32 (C, H, W) in 0..1, RGB, of the cfg's size. The files hold no metadata.
    Boxes are left out because pnnx converts their geometry to wrong numbers (20261020 did). NCNN
    runs the converted files, and its outputs are compared with the network's.

    Args:
        network: a Network with values.
        path: the .param file to write.
        dtype: precision of the weights in the file.
        python: an interpreter that has pnnx and ncnn; None is that in the variable
            DARKNET_TORCH_CONVERTER_PYTHON, or this one.

    Raises:
        UsageError: the network cannot be exported, X.bin belongs to OpenVINO's X.xml, NCNN lacks a
            layer or computes other numbers, or a package is not installed.
    """
    must_not_replace(path, ".bin", ".xml")
    python = suitable_python("pnnx", "ncnn", python)
    if dtype not in TOLERANCE:
        raise UsageError(f"dtype={dtype}: must be float32 or float16")
    exported = prepared(network)
    module = traced_at_one_size(exported)
    with staging_folder(path) as folder:
        build = folder / "build"
        build.mkdir()
        save(module, build / "traced.pt")
        _save_sample(exported, build)
        half, tolerance = dtype == "float16", TOLERANCE[dtype]
        run(python, convert, build=str(build), half=half, tolerance=tolerance)
        (build / "converted.param").rename(folder / path.name)
        (build / "converted.bin").rename(folder / path.with_suffix(".bin").name)
        for each in build.iterdir():
            each.unlink()
        build.rmdir()


def _save_sample(exported: Exported, folder: Path) -> None:
    """Save an input and the network's outputs, which the check expects."""
    shape = example(exported.network, batch=1).shape
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = exported(images)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    np.savez(folder / "sample.npz", images, *outputs)


def convert(build: str, half: bool, tolerance: float) -> None:
    """Convert traced.pt to converted.param and .bin, and check; runs in the other Python."""
    import os
    import subprocess
    from pathlib import Path

    import ncnn
    import numpy as np
    import pnnx

    os.chdir(build)
    sample = np.load("sample.npz")
    images, *expected = [sample[f"arr_{number}"] for number in range(len(sample.files))]
    shape = ",".join(map(str, images.shape))
    command = [pnnx.EXEC_PATH, "traced.pt", f"inputshape=[{shape}]", f"fp16={int(half)}"]
    files = ["ncnnparam=converted.param", "ncnnbin=converted.bin"]
    subprocess.run([*command, *files], check=True, capture_output=True)
    if not Path("converted.param").exists():
        raise SystemExit("pnnx could not convert the network")
    types = [line.split()[0] for line in Path("converted.param").read_text().splitlines()[2:]]
    if unknown := [name for name in types if "." in name or ":" in name]:
        raise SystemExit(f"NCNN has no layer for {unknown[0]}")
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param("converted.param") or net.load_model("converted.bin"):
        raise SystemExit("NCNN cannot read the files of pnnx")
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(images[0]).clone())
    for number, each in enumerate(expected):
        status, output = extractor.extract(f"out{number}")
        output = np.array(output)
        if status or output.size != each.size:
            raise SystemExit(f"NCNN does not yield output {number}")
        error = abs(output.reshape(each[0].shape) - each[0]).max() / max(abs(each).max(), 1e-6)
        if not error <= tolerance:
            raise SystemExit(f"NCNN computes output {number} with an error of {error:.1%}")
