"""One engine in a process of its own, which runs a network when it is told to.

`bench_speed` starts it with a job as JSON, and sends a line for each turn.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from bench_turns import seconds_of

PASSES = 4
"""Passes of one turn at least; the first, with cold caches, does not count."""
TURN = 0.3
"""Seconds of a turn at least: what ran before leaves threads that still spin for some of them."""


def work(job: dict[str, Any]) -> None:
    """Make an engine ready, then run when asked; tell the milliseconds a pass, and of all cores."""
    import numpy as np

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    shape = (job["batch"], 3, job["side"], job["side"])
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    run = _started(job, x)
    for _ in range(1 if job["engine"] == "folder" else 3):
        run()
    for _ in sys.stdin:
        times: list[float] = []
        start, before = time.perf_counter(), time.process_time()
        while not _is_over(job, len(times), time.perf_counter() - start):
            times.append(seconds_of(run))
        busy = (time.process_time() - before) / len(times)
        median = statistics.median(times[len(times) > 1 :])
        print(median * 1e3, busy * 1e3, file=answers, flush=True)


def _is_over(job: dict[str, Any], passes: int, seconds: float) -> bool:
    """Return whether a turn had enough passes; a folder goes through its images once."""
    return passes > 0 if job["engine"] == "folder" else passes >= PASSES and seconds >= TURN


def _started(job: dict[str, Any], x: Any) -> Callable[[], Any]:
    engine = job["engine"]
    if engine.startswith("opencv"):
        return _opencv(job, x)
    if engine in ("onnxruntime int8", "openvino int8"):
        job = job | {"onnx": _in_8_bits(job)}
    if engine.startswith("onnxruntime"):
        return _onnxruntime(job, x)
    if engine == "ncnn":
        return _ncnn(job, x)
    if engine == "mnn":
        return _mnn(job, x)
    if engine == "folder":
        return _folder(job)
    if engine == "resize":
        return _resize(job)
    if engine == "libreyolo":
        return _libreyolo(job, x)
    if engine.startswith("openvino"):
        return _openvino(job, x, "bf16" if engine.endswith("bf16") else "f32")
    return _torch(job, x)


def _torch(job: dict[str, Any], x: Any) -> Callable[[], Any]:
    import torch

    import darknet_torch as dt

    _must_be_of(job.get("package"))
    torch.set_num_threads(job["threads"])
    network: Any = dt.load(job["cfg"], job["weights"], dialect=job["dialect"])
    if job["engine"] != "eager":
        how, _, kind = job["engine"].partition(" ")
        images = {"calibration": job["images"]} if kind == "int8" else {}
        dtype: Any = {"bf16": "bfloat16", "int8": "int8"}.get(kind, "float32")
        network = dt.optimize(network, dtype=dtype, compile=how == "compiled", **images)
    pixels = torch.from_numpy(x)

    def run() -> None:
        with torch.inference_mode():
            network(pixels)

    return run


def _folder(job: dict[str, Any]) -> Callable[[], Any]:
    import torch

    import darknet_torch as dt
    from darknet_torch.inference.detector import Detector

    _must_be_of(job.get("package"))
    torch.set_num_threads(job["threads"])
    network = dt.load(job["cfg"], job["weights"], width=job["side"], height=job["side"])
    detector = Detector(dt.optimize(network), batch_size=job["batch"], workers=job["threads"])

    def run() -> None:
        for outcome in detector.stream(job["photos"]):
            assert outcome.error is None

    return run


def _resize(job: dict[str, Any]) -> Callable[[], Any]:
    import torch

    from darknet_torch.images.resizing import resize

    _must_be_of(job.get("package"))
    torch.set_num_threads(job["threads"])
    width, height = job["image"]
    image = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8).permute(2, 0, 1)
    return lambda: resize(image, job["side"], job["side"])


def _must_be_of(package: str | None) -> None:
    """Raise ImportError where the package that is imported is not that of a checkout."""
    import darknet_torch as dt

    if package is not None and Path(dt.__file__).resolve().parents[1] != Path(package):
        raise ImportError(f"{dt.__file__} is not the package of {package}")


def _libreyolo(job: dict[str, Any], x: Any) -> Callable[[], Any]:
    import torch
    from libreyolo.models.darknet import DarknetNet, load_darknet_weights_file, parse_cfg_file

    torch.set_num_threads(job["threads"])
    network = DarknetNet(*parse_cfg_file(job["cfg"])).eval()
    load_darknet_weights_file(network, job["weights"])
    images = torch.from_numpy(x)

    def run() -> None:
        with torch.inference_mode():
            network(images)

    return run


def _ncnn(job: dict[str, Any], x: Any) -> Callable[[], Any]:
    import torch

    import darknet_torch as dt
    from darknet_torch.inference.engines import start

    torch.set_num_threads(job["threads"])
    target = Path(job["onnx"]).with_suffix(".param")
    if not target.exists():
        dt.export(dt.load(job["cfg"], job["weights"], dialect=job["dialect"]), target)
    run = start(target, "ncnn")
    return lambda: run(x)


def _mnn(job: dict[str, Any], x: Any) -> Callable[[], Any]:
    import onnx

    mnn, converter = import_module("MNN"), import_module("_tools")
    target = Path(job["onnx"]).with_suffix(".mnn")
    if not target.exists():
        # not by MNN.tools, which installs a package and reports to its makers
        made = target.with_suffix(f".{os.getpid()}")
        words = ["-f", "ONNX", "--modelFile", job["onnx"], "--MNNModel", str(made), "--bizCode", ""]
        converter.mnnconvert(["mnnconvert", *words])
        made.replace(target)
    settings = {"backend": "CPU", "precision": "high", "numThread": job["threads"]}
    manager = mnn.nn.create_runtime_manager((settings,))
    names = [each.name for each in onnx.load(job["onnx"]).graph.output]
    module = mnn.nn.load_module_from_file(
        *(str(target), ["images"], names), runtime_manager=manager, shape_mutable=False
    )
    images = mnn.expr.const(x, list(x.shape), mnn.expr.NCHW)
    return lambda: [each.read() for each in module.onForward([images])]


def _in_8_bits(job: dict[str, Any]) -> str:
    """Return the path of an ONNX file in 8 bits, written if there is none yet."""
    import darknet_torch as dt

    target = Path(job["onnx"]).with_suffix(".int8.onnx")
    if not target.exists():
        network = dt.load(job["cfg"], job["weights"], dialect=job["dialect"])
        dt.export(network, target, dynamic_size=False, int8=job["images"], calibration="minmax")
    return str(target)


def _onnxruntime(job: dict[str, Any], x: Any) -> Callable[[], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    session = onnxruntime.InferenceSession(job["onnx"], options)
    return lambda: session.run(None, {"images": x})


def _openvino(job: dict[str, Any], x: Any, precision: str) -> Callable[[], Any]:
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": job["threads"],
        "INFERENCE_PRECISION_HINT": precision,
    }
    core = openvino.Core()
    model = core.read_model(job["onnx"])
    model.reshape(list(x.shape))
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer([x])


def _opencv(job: dict[str, Any], x: Any) -> Callable[[], Any]:
    import cv2

    cv2.setNumThreads(job["threads"])
    if job["engine"] == "opencv4":
        net = getattr(cv2.dnn, "readNetFromDarknet")(job["cfg"], job["weights"])  # noqa: B009
    else:
        net = cv2.dnn.readNetFromONNX(job["onnx"])
    names = net.getUnconnectedOutLayersNames()

    def run() -> None:
        net.setInput(x)
        net.forward(names)

    return run


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
