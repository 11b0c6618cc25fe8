"""Forward passes of several engines side by side; `tools/bench.py speed` runs this.

Each engine has a process of its own, which waits while another runs; they take turns for some
rounds, so that what else the machine does hits all alike.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench_figures import keep
from bench_turns import seconds_of
from bench_workers import quartiles_of_ratios, start_worker, take_turn

if TYPE_CHECKING:
    from darknet_torch.network import Network

NETWORKS = {
    "yolov4-tiny": ("yolov4-tiny", 416),
    "yolo-fastest-1.1": ("models/yolo-fastest-1.1", 320),
    "mobilenetv2-nano-coco": ("models/mobilenetv2-nano-coco", 320),
    "efficientnet-lite3": ("oracle/official_cfg/alexeyab/efficientnet-lite3.cfg", 288),
    "yolov3-tiny": ("yolov3-tiny", 416),
    "yolov2-tiny": ("yolov2-tiny", 416),
    "darknet19": ("darknet19", 256),
    "yolov2": ("yolov2", 416),
    "yolov3": ("yolov3", 416),
    "yolov4": ("yolov4", 416),
}
"""Name -> the cfg (of the package, or a file or folder of ../shared) and the side of its input."""
TINY = ("yolo-fastest-1.1", "mobilenetv2-nano-coco", "efficientnet-lite3")
"""Networks of many tiny layers."""
DOWNLOADED = ("yolov4-tiny",)
"""Of the package's those with trained weights; the others have random values."""
ENGINES = {
    "eager": "torch, the plain network",
    "packed": "optimize(compile=False)",
    "compiled": "optimize()",
    "packed bf16": "optimize(dtype=bfloat16, compile=False)",
    "compiled bf16": "optimize(dtype=bfloat16)",
    "packed int8": "optimize(dtype=int8, compile=False)",
    "compiled int8": "optimize(dtype=int8)",
    "onnxruntime": "ONNX Runtime",
    "onnxruntime int8": "ONNX Runtime int8",
    "openvino": "OpenVINO float32",
    "openvino bf16": "OpenVINO bfloat16",
    "openvino int8": "OpenVINO int8",
    "opencv5": "OpenCV 5, from ONNX",
    "ncnn": "NCNN float32",
    "mnn": "MNN float32",
    "opencv4": "OpenCV 4, from Darknet's files (needs --opencv4 PYTHON)",
    "libreyolo": "LibreYOLO, the plain network (needs --libreyolo PYTHON)",
}
FASTEST = "the fastest other"
OTHERS = ("onnxruntime", "openvino", "opencv5", "ncnn", "mnn", "opencv4")
TARGETS = (
    *(("yolov4-tiny", "compiled", "openvino", 0.95), ("yolov4-tiny", "compiled", "opencv4", 0.8)),
    ("yolov4-tiny", "packed", "opencv4", 0.95),
    *((f"yolov{v}", "compiled bf16", "openvino bf16", 0.95) for v in ("3-tiny", "4-tiny", "4")),
    ("yolov4-tiny", "eager", "opencv4", 1.3),
    *((name, "compiled int8", "compiled", 0.6) for name in ("yolov4-tiny", "yolov3-tiny")),
    *((name, "compiled", "ncnn", 0.75) for name in ("yolov4-tiny", "yolov3-tiny")),
    *((name, "compiled", "ncnn", 0.75) for name in ("yolov2-tiny", "darknet19")),
    *(("yolov2", "compiled", FASTEST, 1.15), ("yolov2", "packed", "opencv4", 1.2)),
    ("yolov2", "compiled bf16", "openvino bf16", 1.05),
    *((name, "compiled", FASTEST, 0.95) for name in TINY),
    *((name, "eager", FASTEST, 2.0) for name in TINY),
)
"""Network, one of ours, another engine, and the largest share of its time, for a batch of 1."""
COMPILING = ("packed", "compiled")
ELSEWHERE = ("opencv4", "libreyolo")
"""Engines that have an environment of their own, named by the argument of that name."""
OURS = ("eager", "packed", "compiled", *(f"{a} {b}" for b in ("bf16", "int8") for a in COMPILING))
BEFORE = " before"
"""Behind the name of an engine that runs the package of another checkout, see --before."""


__all__ = ["ENGINES", "NETWORKS", "bench_speed", "engine_times", "network_files"]


class Files(NamedTuple):
    """The same network for all engines."""

    cfg: str
    weights: str
    onnx: str
    side: int
    dialect: str
    images: str
    """For 8 bits, on which ranges are measured."""


def bench_speed(options: argparse.Namespace) -> None:
    """Print a table for each network and batch size."""
    if options.device != "cpu":
        from bench_card import bench_card  # which uses this module

        bench_card(options, options.networks or list(NETWORKS))
        return
    threads = options.threads or os.cpu_count() or 1
    peaks = _peaks(threads)
    reached = ", ".join(f"{peak:.0f} GFLOP/s in {name}" for name, peak in peaks.items())
    print(f"{threads} threads; matrix products reach {reached}")
    for name in options.networks or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                files, flops = network_files(name, Path(folder))
            except FileNotFoundError as error:
                print(f"{name}: {error}")
                continue
            for batch in options.batches:
                engines = [
                    each
                    for each in options.engines or ENGINES
                    if "bfloat16" in peaks or not each.endswith("bf16")
                ]
                found = engine_times(files, batch, threads, engines, options)
                what = f"{name} {files.side}, batch {batch}"
                _table(what, found, flops * batch, peaks)
                medians = {
                    ENGINES[each].partition(" (")[0]: statistics.median(ms)
                    for each, ms in found.items()
                    if ms and not each.endswith(BEFORE)
                }
                keep(options, "speed", what, f"ms with {threads} threads", medians)
                _keep_ratios(options, name, what, found)


def _keep_ratios(
    options: argparse.Namespace, name: str, what: str, found: dict[str, list[float]]
) -> None:
    """Keep the time of ours beside those of targets, and beside that of another checkout."""
    medians = {each: statistics.median(ms) for each, ms in found.items() if ms}
    others = {each: medians[each] for each in OTHERS if each in medians}
    if others:
        medians[FASTEST] = min(others.values())
    labels = {each: text.partition(" (")[0] for each, text in ENGINES.items()}
    for network, mine, rival, most in TARGETS:
        if network == name and what.endswith("batch 1") and {mine, rival} <= set(medians):
            row = f"{name}: {labels[mine]} / {labels.get(rival, rival)}"
            figures = {"time / its time": medians[mine] / medians[rival], "at most": most}
            keep(options, "targets", row, "", figures)
    for mine in OURS:
        if {mine, mine + BEFORE} <= set(medians):
            ratio = quartiles_of_ratios(found[mine], found[mine + BEFORE])[1]
            row = f"{what}, {labels[mine]}"
            keep(options, "speed_before", row, "", {"time / time before": ratio})


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
            seconds = min(seconds_of(run) for _ in range(8))
            found[str(dtype).removeprefix("torch.")] = 2 * 2048**3 / seconds / 1e9
    return found


def network_files(name: str, folder: Path) -> tuple[Files, int]:
    """Write a network for all engines; FileNotFoundError where its weights are not here."""
    import torch

    import darknet_torch as dt
    from darknet_torch.network import as_network
    from darknet_torch.network.summary import summarize

    shared = Path(__file__).resolve().parents[2] / "shared"
    cfg, side = NETWORKS[name]
    torch.manual_seed(0)
    path = shared / cfg if "/" in cfg else None
    if path is not None and not path.exists():
        raise FileNotFoundError("../shared is not here")
    if path is not None and path.is_dir():
        (source,), (weights,) = (list(path.glob(f"*.{end}")) for end in ("cfg", "weights"))
        network = dt.load(source, weights, width=side, height=side)
    elif cfg in DOWNLOADED:
        network = dt.load(cfg, width=side, height=side)
    else:
        network = dt.build(path or cfg, width=side, height=side)
        _settle(as_network(network))
    dt.export(network, folder / "net.weights")
    dt.export(network, folder / "net.onnx", dynamic_size=False)
    files = [str(folder / f"net.{ending}") for ending in ("cfg", "weights", "onnx")]
    dialect = network.plan.context.dialect.name
    made = Files(files[0], files[1], files[2], side, dialect, str(shared / "photos"))
    return made, summarize(network.plan).flops


def _settle(network: "Network") -> None:
    """Give batch norm the statistics of random images: else the values grow from layer to layer."""
    import torch
    from torch import nn

    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    before = [each.momentum for each in norms]
    for norm in norms:
        norm.momentum = 1.0
    shape = network.plan.input
    with torch.no_grad():
        network.train()(torch.rand(2, shape.c, shape.h, shape.w))
    network.eval()
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


def engine_times(
    files: Files, batch: int, threads: int, engines: Iterable[str], options: argparse.Namespace
) -> dict[str, list[float]]:
    """Return the milliseconds of those engines that run here, one figure a round."""
    workers: dict[str, subprocess.Popen[str]] = {}
    for name in engines:
        python = getattr(options, name) if name in ELSEWHERE else sys.executable
        if python is None:
            continue
        job = {"engine": name, "batch": batch, "threads": threads, **files._asdict()}
        workers[name] = start_worker(job, python)
        if options.before is not None and name in OURS:
            workers[name + BEFORE] = start_worker(job, python, options.before)
    for name in [name for name, worker in workers.items() if take_turn(worker) is None]:
        print(f"  {name}: cannot run here")
        workers.pop(name)
    milliseconds: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(options.rounds):
        # forwards and backwards in turn, so that none always runs behind the same other
        for name in list(workers)[:: 1 if number % 2 else -1]:
            each = take_turn(workers[name])
            if each is not None:
                milliseconds[name].append(each.ms)
    for worker in workers.values():
        worker.communicate("")
    return milliseconds


def _table(
    title: str, found: dict[str, list[float]], flops: float, peaks: dict[str, float]
) -> None:
    medians = {name: statistics.median(each) for name, each in found.items() if each}
    print(f"\n{title} ({flops / 1e9:.1f} GFLOP)\n")
    print("| engine | ms, median (least to most) | of the peak |\n|---|---|---|")
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        peak = peaks["bfloat16" if "bf16" in name else "float32"]
        share = "" if "int8" in name else f"{flops / median / 1e6 / peak:.0%}"
        spread = f"{min(found[name]):.1f} to {max(found[name]):.1f}"
        engine = ENGINES[name.removesuffix(BEFORE)]
        label = f"{engine}, before" if name.endswith(BEFORE) else engine
        print(f"| {label} | {median:.1f} ({spread}) | {share} |")
    print(flush=True)
    rivals = [each for each in ENGINES if each not in OURS]
    for mine in OURS:
        if found.get(mine) and found.get(mine + BEFORE):
            low, middle, high = quartiles_of_ratios(found[mine], found[mine + BEFORE])
            print(
                f"{mine} in units of before: {middle:.3f} (half of the rounds {low:.3f}-{high:.3f})"
            )
        ratios = [
            f"{r} {medians[mine] / medians[r]:.2f}" for r in rivals if {mine, r} <= set(medians)
        ]
        if ratios:
            print(f"{mine} in units of: {', '.join(ratios)}")
    print(flush=True)
