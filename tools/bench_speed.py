"""Forward passes of several engines side by side; `tools/bench.py speed` runs this.

Each engine has a process of its own, which waits while another runs; they take turns for some
rounds, so that what else the machine does hits all alike.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

NETWORKS = {
    "yolov4-tiny": ("yolov4-tiny", 416),
    "yolo-fastest-1.1": ("models/yolo-fastest-1.1", 320),
    "yolov3-tiny": ("yolov3-tiny", 416),
    "darknet19": ("darknet19", 256),
    "yolov2": ("yolov2", 416),
    "yolov3": ("yolov3", 416),
    "yolov4": ("yolov4", 416),
}
"""Name -> the cfg (of the package, or a folder of ../shared) and the side of its input."""
DOWNLOADED = ("yolov4-tiny",)
"""Of the package's those with trained weights; the others have random values."""
ENGINES = {
    "eager": "torch, the plain network",
    "packed": "optimize(compile=False)",
    "compiled": "optimize()",
    "packed bf16": "optimize(dtype=bfloat16, compile=False)",
    "compiled bf16": "optimize(dtype=bfloat16)",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO float32",
    "openvino bf16": "OpenVINO bfloat16",
    "opencv5": "OpenCV 5, from ONNX",
    "opencv4": "OpenCV 4, from Darknet's files (needs --opencv4 PYTHON)",
    "libreyolo": "LibreYOLO, the plain network (needs --libreyolo PYTHON)",
}
ELSEWHERE = ("opencv4", "libreyolo")
"""Engines that have an environment of their own, named by the argument of that name."""
PASSES = 4
"""Passes of one turn; the first, with cold caches, does not count."""


class Files(NamedTuple):
    """The same network for all engines."""

    cfg: str
    weights: str
    onnx: str
    side: int
    dialect: str


def bench_speed(options: argparse.Namespace) -> None:
    """Print a table for each network and batch size."""
    threads = options.threads or os.cpu_count() or 1
    peaks = _peaks(threads)
    reached = ", ".join(f"{peak:.0f} GFLOP/s in {name}" for name, peak in peaks.items())
    print(f"{threads} threads; matrix products reach {reached}")
    for name in options.networks or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                files, flops = _files(name, Path(folder))
            except FileNotFoundError as error:
                print(f"{name}: {error}")
                continue
            for batch in options.batches:
                seconds = _measure(files, batch, threads, peaks, options)
                _table(f"{name} {files.side}, batch {batch}", seconds, flops * batch, peaks)


def _peaks(threads: int) -> dict[str, float]:
    """Return the GFLOP/s of matrix products in each type that the processor multiplies."""
    import torch

    from darknet_torch.speed.onednn import computes_natively

    torch.set_num_threads(threads)
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        if computes_natively(torch.device("cpu"), dtype):
            a = torch.ones(2048, 2048, dtype=dtype)
            run = partial(torch.mm, a, a)
            seconds = min(_seconds(run) for _ in range(8))
            found[str(dtype).removeprefix("torch.")] = 2 * 2048**3 / seconds / 1e9
    return found


def _files(name: str, folder: Path) -> tuple[Files, int]:
    """Write a network for all engines; FileNotFoundError where its weights are not here."""
    import torch

    import darknet_torch as dt
    from darknet_torch.network.summary import summarize

    cfg, side = NETWORKS[name]
    torch.manual_seed(0)
    if "/" in cfg:
        real = Path(__file__).resolve().parents[2] / "shared" / cfg
        if not real.is_dir():
            raise FileNotFoundError("../shared is not here")
        (source,), (weights,) = (list(real.glob(f"*.{end}")) for end in ("cfg", "weights"))
        network = dt.load(source, weights, width=side, height=side)
    else:
        make = dt.load if cfg in DOWNLOADED else dt.build
        network = make(cfg, width=side, height=side)
    dt.export(network, folder / "net.weights")
    dt.export(network, folder / "net.onnx", dynamic_size=False)
    files = [str(folder / f"net.{ending}") for ending in ("cfg", "weights", "onnx")]
    dialect = network.plan.context.dialect.name
    return Files(files[0], files[1], files[2], side, dialect), summarize(network.plan).flops


def _measure(
    files: Files, batch: int, threads: int, peaks: dict[str, float], options: argparse.Namespace
) -> dict[str, list[float]]:
    """Return each engine's milliseconds, one figure a round."""
    workers: dict[str, subprocess.Popen[str]] = {}
    for name in options.engines or ENGINES:
        if name.endswith("bf16") and "bfloat16" not in peaks:
            continue
        python = getattr(options, name) if name in ELSEWHERE else sys.executable
        if python is None:
            continue
        job = json.dumps({"engine": name, "batch": batch, "threads": threads, **files._asdict()})
        workers[name] = subprocess.Popen(
            [python, __file__, job],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        if _turn(workers[name]) is None:
            print(f"  {name}: cannot run here")
            workers.pop(name)
    found: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(options.rounds):
        for name, worker in workers.items():
            milliseconds = _turn(worker)
            if milliseconds is not None:
                found[name].append(milliseconds)
    for worker in workers.values():
        worker.communicate("")
    return found


def _turn(worker: "subprocess.Popen[str]") -> float | None:
    """Let a worker run; its milliseconds a pass, or None if it is gone."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write("go\n")
        worker.stdin.flush()
        return float(worker.stdout.readline())
    except (BrokenPipeError, ValueError):
        return None


def _table(
    title: str, found: dict[str, list[float]], flops: float, peaks: dict[str, float]
) -> None:
    medians = {name: statistics.median(each) for name, each in found.items() if each}
    print(f"\n{title} ({flops / 1e9:.1f} GFLOP)\n")
    print("| engine | ms, median (least to most) | of the peak |\n|---|---|---|")
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        share = flops / median / 1e6 / peaks["bfloat16" if name.endswith("bf16") else "float32"]
        spread = f"{min(found[name]):.1f} to {max(found[name]):.1f}"
        print(f"| {ENGINES[name]} | {median:.1f} ({spread}) | {share:.0%} |")
    print(flush=True)
    rivals = ("opencv4", "opencv5", "onnxruntime", "openvino", "openvino bf16", "libreyolo")
    for mine in ("eager", "packed", "compiled", "packed bf16", "compiled bf16"):
        ratios = [
            f"{r} {medians[mine] / medians[r]:.2f}" for r in rivals if {mine, r} <= set(medians)
        ]
        if ratios:
            print(f"{mine} in units of: {', '.join(ratios)}")
    print(flush=True)


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


# ---- in the engine's own process


def work(job: dict[str, Any]) -> None:
    """Make an engine ready, then run when asked and tell the milliseconds a pass."""
    import numpy as np

    shape = (job["batch"], 3, job["side"], job["side"])
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    run = _started(job, x)
    for _ in range(3):
        run()
    for _ in sys.stdin:
        times = [_seconds(run) for _ in range(PASSES)]
        print(statistics.median(times[1:]) * 1e3, flush=True)


def _started(job: dict[str, Any], x: Any) -> Callable[[], Any]:
    engine = job["engine"]
    if engine.startswith("opencv"):
        return _opencv(job, x)
    if engine == "onnxruntime":
        return _onnxruntime(job, x)
    if engine == "libreyolo":
        return _libreyolo(job, x)
    if engine.startswith("openvino"):
        return _openvino(job, x, "bf16" if engine.endswith("bf16") else "f32")
    return _torch(job, x)


def _torch(job: dict[str, Any], x: Any) -> Callable[[], Any]:
    import torch

    import darknet_torch as dt

    torch.set_num_threads(job["threads"])
    network: Any = dt.load(job["cfg"], job["weights"], dialect=job["dialect"])
    if job["engine"] != "eager":
        network = dt.optimize(
            network,
            dtype="bfloat16" if job["engine"].endswith("bf16") else "float32",
            compile=job["engine"].startswith("compiled"),
        )
    images = torch.from_numpy(x)

    def run() -> None:
        with torch.inference_mode():
            network(images)

    return run


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
