"""The programs that run converted files: what they need, which files they take, how they start."""

from collections.abc import Callable, Sequence
from importlib import import_module, util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from darknet_torch.errors import UsageError

__all__ = [
    "ENDINGS",
    "ENGINES",
    "Array",
    "Engine",
    "Runner",
    "engine_for",
    "installed",
    "is_converted",
]

Array = np.ndarray[Any, Any]


Runner = Callable[[Array], Sequence[Any]]


class Engine(NamedTuple):
    """A program that runs files: the module it needs, the endings it takes, how to start it."""

    package: str
    endings: tuple[str, ...]
    start: Callable[[Path], Runner]


def is_converted(path: str | Path) -> bool:
    """Say whether a path's ending is that of a file for an engine."""
    return str(path).lower().endswith(ENDINGS)


def installed(engine: str) -> bool:
    """Say whether an engine's package is there."""
    return util.find_spec(ENGINES[engine].package) is not None


def engine_for(path: str | Path, engine: str | None = None) -> str:
    """Return the engine asked for, or the first installed one that takes the file's ending."""
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
    raise UsageError(f"{path}: needs one of {', '.join(takers)}, and none is installed")


def _module(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise UsageError(f"{package} is not installed; it is needed to run such a file") from error


def _onnxruntime(path: Path) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=_providers(onnxruntime))
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})


def _providers(onnxruntime: Any) -> list[str]:
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    return [each for each in wanted if each in onnxruntime.get_available_providers()]


def _openvino(path: Path) -> Runner:
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.compile_model(path, "CPU", settings)
    request = compiled.create_infer_request()

    def run(x: Array) -> Sequence[Any]:
        found = request.infer([x])
        return [np.array(found[output]) for output in compiled.outputs]

    return run


def _opencv(path: Path) -> Runner:
    import cv2

    cv2.setNumThreads(torch.get_num_threads())
    net = cv2.dnn.readNetFromONNX(str(path))
    names = net.getUnconnectedOutLayersNames()

    def run(x: Array) -> Sequence[Any]:
        net.setInput(x)
        return [each if each is None else np.array(each) for each in net.forward(names)]

    return run


def _torch(path: Path) -> Runner:
    module = _package(path) if _is_package(path) else _program(path)

    def run(x: Array) -> Sequence[Any]:
        with torch.inference_mode():
            found = module(torch.from_numpy(x))
        return found if isinstance(found, tuple | list) else (found,)

    return run


def _program(path: Path) -> Any:
    is_exported = path.suffix == ".pt2"
    return torch.export.load(path).module() if is_exported else torch.jit.load(str(path))


def _is_package(path: Path) -> bool:
    return path.name.endswith(".aoti.pt2")


def _package(path: Path) -> Any:
    return import_module("torch._inductor").aoti_load_package(str(path))


ENGINES = {
    "onnxruntime": Engine("onnxruntime", (".onnx",), _onnxruntime),
    "openvino": Engine("openvino", (".onnx", ".xml"), _openvino),
    "opencv": Engine("cv2", (".onnx",), _opencv),
    "torch": Engine("torch", (".pt2", ".torchscript", ".ts"), _torch),
}


ENDINGS = tuple(ending for each in ENGINES.values() for ending in each.endings)
"""Of all files that an engine takes."""
