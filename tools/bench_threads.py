"""Forward passes and a folder of images with more and more threads; `tools/bench.py threads`."""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from bench_figures import keep
from bench_folder import folder_rate
from bench_speed import NETWORKS, engine_times, network_files

__all__ = ["bench_threads"]

COUNTS = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of threads, as far as there are cores."""
ENGINES = ("compiled", "packed", "onnxruntime", "openvino")
SUBJECTS = ("yolov4-tiny", "yolo-fastest-1.1")


def bench_threads(options: argparse.Namespace) -> None:
    """Milliseconds of a pass in each engine, and images a second of a folder, by threads."""
    cores = os.cpu_count() or 1
    for name in options.networks or SUBJECTS:
        for threads in [count for count in COUNTS if count <= cores]:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    files, _ = network_files(name, Path(folder))
                except FileNotFoundError as error:
                    print(f"threads, {name}: {error}")
                    break
                engines = options.engines or ENGINES
                times = engine_times(files, 1, threads, engines, options)
            figures = {f"{each}, ms": statistics.median(ms) for each, ms in times.items() if ms}
            rate = folder_rate(*NETWORKS[name], threads)
            if rate is not None:
                figures["folder, images/s"] = rate
            what = f"{name} {files.side}, {threads} thread{'s' * (threads > 1)}"
            print(f"{what}: " + ", ".join(f"{key} {value:.1f}" for key, value in figures.items()))
            keep(options, "threads", what, "", figures)
