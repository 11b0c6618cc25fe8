"""The programs that run converted files: their packages, the files that they take, their start."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module, util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from darknet_torch.data.dataset import Array
from darknet_torch.errors import UsageError
from darknet_torch.extras import not_installed, require
from darknet_torch.inference.mobile_engines import start_litert, start_ncnn
from darknet_torch.safety.text import first_line

__all__ = [
    "ENDINGS",
    "ENGINES",
    "Engine",
    "Runner",
    "engine_for",
    "import_engine",
    "installed",
    "is_converted",
    "is_package",
    "lacks_loop",
    "load_package",
    "openvino_core",
    "read_exported",
    "read_openvino",
    "start",
]

Runner = Callable[[Array], Sequence[Any]]
"""Images, float32 (B, C, H, W) -> the outputs; None for an output without values."""


class Engine(NamedTuple):
    """A program that runs converted files.

    Args:
        package: the module that it needs.
        endings: of the files that it takes.
        start: path -> function that runs the file.
        runs_code: whether its files are programs, which do anything as soon as they are loaded.
    """

    package: str
    endings: tuple[str, ...]
    start: Callable[[Path], Runner]
    runs_code: bool = False


def is_converted(path: str | Path) -> bool:
    """Return whether a path's ending is that of a file for an engine."""
    return str(path).lower().endswith(ENDINGS)


def lacks_loop(engine: str, nms_kind: str | None) -> bool:
    """Return whether an engine cannot run the loop that a kind of NMS is in a file."""
    return engine == "opencv" and nms_kind not in (None, "default")


def installed(engine: str) -> bool:
    """Return whether an engine's package is installed."""
    return util.find_spec(ENGINES[engine].package) is not None


def engine_for(path: str | Path, engine: str | None = None) -> str:
    """Return the engine that runs a file.

    Args:
        path: the file; its ending decides which engines take it.
        engine: a key of ENGINES; None is the first installed one that takes the file.

    Raises:
        UsageError: there is no such engine, it does not take the file, or none is installed.
    """
    if engine is not None and engine not in ENGINES:
        raise UsageError(f"engine {engine}: must be one of {', '.join(ENGINES)}")
    takers = [
        name
        for name, each in ENGINES.items()
        if any(str(path).lower().endswith(ending) for ending in each.endings)
    ]
    if engine is not None:
        if engine not in takers:
            raise UsageError(f"{path}: {engine} takes {', '.join(ENGINES[engine].endings)} files")
        return engine
    for name in takers:
        if installed(name):
            return name
    if len(takers) == 1:
        package = ENGINES[takers[0]].package
        raise UsageError(f"{path}: {not_installed(package, EXTRAS[package])}")
    raise UsageError(f"{path}: needs one of {', '.join(takers)}, and none is installed")


def start(path: Path, engine: str, *, trusted: bool = False) -> Runner:
    """Return the function that runs a file in an engine.

    Args:
        path: the file.
        engine: a key of ENGINES.
        trusted: whether the file may run code of its own.

    Raises:
        UsageError: the engine is not installed, cannot run the file, or would have to trust it.
    """
    if ENGINES[engine].runs_code and not trusted:
        raise UsageError(
            f"{path}: is a program, which can do anything on this machine once it is loaded; if you"
            f" trust its source, say --trust (in Python trusted=True); ONNX files need no trust"
        )
    import_engine(ENGINES[engine].package)
    try:
        return ENGINES[engine].start(path)
    except Exception as error:  # other people's parsers, each with errors of its own
        raise UsageError(f"{path}: {engine} cannot run it: {first_line(error)}") from error


def import_engine(package: str) -> Any:
    """Import an engine's package; UsageError where it is not installed."""
    return require(package, EXTRAS.get(package, package))


def is_package(path: Path) -> bool:
    """Return whether a file is a compiled package of AOTInductor."""
    return path.name.lower().endswith(".aoti.pt2")


def load_package(path: Path) -> Any:
    """Load a compiled package of AOTInductor that is trusted: it is a library of machine code."""
    return import_module("torch._inductor").aoti_load_package(str(path))


@cache
def openvino_core() -> Any:
    """Return the only `openvino.Core` of the process, which is kept to its end.

    On Linux each one gives signals a stack of its own and takes it away at its end, also where that
    of another is in use: at the next Ctrl-C the process would end with a segmentation fault.
    """
    return import_engine("openvino").Core()


def read_openvino(path: Path) -> Any:
    """Return OpenVINO's model of a file; it knows endings in small letters only."""
    core = openvino_core()
    if path.suffix == path.suffix.lower():
        return core.read_model(path)
    weights = path.with_suffix(".bin").read_bytes() if path.suffix.lower() == ".xml" else b""
    return core.read_model(path.read_bytes(), weights)


def read_exported(path: Path) -> torch.export.ExportedProgram:
    """Return torch's program of a .pt2 file that is trusted: reading it runs what it contains."""
    # torch warns of a name that ends in capitals; torch 2.9 also of a buffer of its own
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given buffer is not writable")
        return torch.export.load(file)


def _onnxruntime(path: Path) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=_providers(onnxruntime))
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})


def _providers(onnxruntime: Any) -> list[str]:
    preferred = ("CUDAExecutionProvider", "CPUExecutionProvider")
    return [each for each in preferred if each in onnxruntime.get_available_providers()]


def _openvino(path: Path) -> Runner:
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino_core().compile_model(read_openvino(path), "CPU", settings)
    request = compiled.create_infer_request()

    def run(x: Array) -> Sequence[Any]:
        outputs = request.infer([x])
        return [np.array(outputs[output]) for output in compiled.outputs]

    return run


def _opencv(path: Path) -> Runner:
    import cv2

    net = cv2.dnn.readNetFromONNX(str(path))
    names = net.getUnconnectedOutLayersNames()
    threads = torch.get_num_threads()

    def run(x: Array) -> Sequence[Any]:
        with _opencv_threads(cv2, threads):
            net.setInput(x)
            return [each if each is None else np.array(each) for each in net.forward(names)]

    return run


@contextmanager
def _opencv_threads(cv2: Any, threads: int) -> Iterator[None]:
    """Set OpenCV's number of threads, which is one for the process, and restore it."""
    before = cv2.getNumThreads()
    if before == threads:
        yield
        return
    cv2.setNumThreads(threads)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _torch(path: Path) -> Runner:
    module = load_package(path) if is_package(path) else _program(path)

    def run(x: Array) -> Sequence[Any]:
        with torch.inference_mode():
            outputs = module(torch.from_numpy(x))
        return outputs if isinstance(outputs, tuple | list) else (outputs,)

    return run


def _program(path: Path) -> Any:
    if path.suffix.lower() == ".pt2":
        return read_exported(path).module()
    with warnings.catch_warnings():  # torch calls TorchScript deprecated, which the user knows
        warnings.filterwarnings("ignore", ".torch.jit.load. is deprecated")
        return torch.jit.load(str(path))


ENGINES = {
    "onnxruntime": Engine("onnxruntime", (".onnx",), _onnxruntime),
    "openvino": Engine("openvino", (".onnx", ".xml"), _openvino),
    "opencv": Engine("cv2", (".onnx",), _opencv),
    "torch": Engine("torch", (".pt2", ".torchscript", ".ts"), _torch, runs_code=True),
    "ncnn": Engine("ncnn", (".param",), start_ncnn),
    "litert": Engine("ai_edge_litert", (".tflite",), start_litert),
}
EXTRAS = {
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "cv2": "opencv",
    "ncnn": "ncnn",
    "ai_edge_litert": "litert",
}
"""Package that reads or runs files -> the extra of this package that installs it."""
ENDINGS = tuple(ending for each in ENGINES.values() for ending in each.endings)
"""Endings of all files that an engine takes."""
