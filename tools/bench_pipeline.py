"""The stages from a file to boxes, each alone; `tools/bench.py pipeline` and `resize`.

A stage's time is that of an image on one core (reading, resizing, postprocessing) or on the device
(the forward pass). The bound of a folder is what the cores could do if none ever waited.
"""

import argparse
import os
import statistics
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from bench_figures import keep
from bench_folder import photos_at_hand
from bench_turns import in_turns
from bench_workers import quartiles_of_ratios, start_worker, take_turn

__all__ = ["bench_pipeline", "bench_resize"]

BATCH = 32
FILES, CARD_BATCH = 8000, 64
"""Of a folder that a graphics card works on, and images of a batch there."""
SIZES = (((640, 480), (416, 416)), ((4000, 3000), (416, 416)), ((320, 240), (608, 608)))
"""Images and inputs, (width, height) in pixels."""
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 31)}
"""Lets older versions, too, keep memory that they free, as the command does: else it depends on
chance whether each result is fetched from Linux page by page, which takes as long as resizing."""


def bench_resize(options: argparse.Namespace) -> None:
    """Darknet's resize of a uint8 image on one core, beside torch's and OpenCV's."""
    import numpy as np
    import torch
    import torch.nn.functional as F

    from darknet_torch.images.resizing import resize
    from darknet_torch.speed.freed_memory import keep_freed_memory

    keep_freed_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for (width, height), (new_w, new_h) in SIZES:
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = torch.from_numpy(pixels).permute(2, 0, 1)

        def interpolate(image: torch.Tensor = image, size: Any = (new_h, new_w)) -> torch.Tensor:
            x = image[None].float()
            return F.interpolate(x, size, mode="bilinear", align_corners=True).div_(255)

        def ours(image: torch.Tensor = image, size: Any = (new_w, new_h)) -> torch.Tensor:
            return resize(image, *size)

        work: dict[str, Callable[[], object]] = {"resize": ours, "F.interpolate": interpolate}
        if (other := _opencv(pixels, (new_w, new_h))) is not None:
            work["OpenCV, uint8"] = other
        seconds = in_turns(work, rounds=25, warm=3)
        _report(
            "resize",
            f"{width} x {height} to {new_w} x {new_h}",
            {what: each * 1e3 for what, each in seconds.items()},
            "ms",
            options,
        )
        if options.before is not None:
            _resize_before((width, height), new_w, options)
    torch.set_num_threads(threads)


def _resize_before(image: tuple[int, int], side: int, options: argparse.Namespace) -> None:
    """Resize to side x side by this checkout and by an older one, in turns."""
    job = {"engine": "resize", "batch": 1, "threads": 1, "image": image, "side": side}
    checkouts = (None, options.before)
    workers = [start_worker(job, package=each, settings=KEPT_MEMORY) for each in checkouts]
    turns = [[take_turn(worker) for worker in workers] for _ in range(options.rounds + 1)][1:]
    for worker in workers:
        worker.communicate("")
    now, before = ([each.ms for each in times if each] for times in zip(*turns, strict=True))
    if not before:
        print(f"resize: {options.before} cannot run here")
        return
    figures = {
        "now, ms": statistics.median(now),
        "before, ms": statistics.median(before),
        "now / before": quartiles_of_ratios(now, before)[1],
    }
    what = f"{image[0]} x {image[1]} to {side} x {side}"
    _report("resize_before", what, figures, "", options)


def _opencv(pixels: Any, size: tuple[int, int]) -> Callable[[], object] | None:
    """Return OpenCV's resize of the same image, whose result is uint8; None without OpenCV."""
    try:
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)
    return lambda: cv2.resize(pixels, size)


def bench_pipeline(options: argparse.Namespace) -> None:
    """Milliseconds an image of each stage alone, and of a folder from files to boxes."""
    import torch

    import darknet_torch as dt
    from darknet_torch.images.reading import read
    from darknet_torch.images.resizing import resize
    from darknet_torch.inference.detector import Detector
    from darknet_torch.inference.prepared import as_batch
    from darknet_torch.inference.reader_processes import ReaderProcesses
    from darknet_torch.network.device import as_device

    photos = photos_at_hand()[:BATCH]
    if not photos:
        print("pipeline: the photos (../shared) are not here")
        return
    device = as_device(options.device)
    on_card = device.type == "cuda"
    plain = dt.load("yolov4-tiny", device=device)
    network = dt.optimize(plain, dtype="float16" if on_card else "float32")
    detector = Detector(network, batch_size=BATCH, workers=os.cpu_count() or 1)
    images = [read(photo) for photo in photos]
    prepared = [detector.prepare(photo) for photo in photos]
    shape = network.plan.input
    raw = detector.forward(prepared)

    def wait(result: object) -> object:
        if on_card:
            torch.cuda.synchronize(device)
        return result

    def on_one_core(run: Callable[[], object]) -> Callable[[], object]:
        def alone() -> object:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            result = run()
            torch.set_num_threads(threads)
            return result

        return alone

    cores = os.cpu_count() or 1
    threads = ThreadPoolExecutor(cores)
    with torch.inference_mode(), ReaderProcesses(detector.reading, cores) as processes:
        batch = as_batch(prepared, network)
        work: dict[str, Callable[[], object]] = {
            "read": on_one_core(lambda: [read(photo) for photo in photos]),
            "resize": on_one_core(lambda: [resize(each, shape.w, shape.h) for each in images]),
            "read and resize in threads": lambda: list(threads.map(detector.prepare, photos)),
            "in processes": lambda: list(processes.ahead(photos)),
            "batch": lambda: wait(as_batch(prepared, network)),
            "forward": lambda: wait(network(batch)),
            "postprocess": on_one_core(lambda: detector.postprocess(raw, prepared)),
            "folder": lambda: list(detector.stream(photos)),
        }
        seconds = in_turns(work, rounds=7, warm=1)
    _report(
        "pipeline",
        f"yolov4-tiny 416, {len(photos)} photos, {device.type}",
        {what: each / len(photos) * 1e3 for what, each in seconds.items()},
        "ms an image",
        options,
    )
    if on_card:
        paths = photos_at_hand()
        bench_long_folder(network, (paths * FILES)[:FILES], options)


def bench_long_folder(network: Any, paths: list[str], options: argparse.Namespace) -> None:
    """Images a second of a long folder, by each decoder, beside its reading processes alone."""
    import darknet_torch as dt
    from darknet_torch.inference.detector import Detector
    from darknet_torch.inference.reader_processes import ReaderProcesses, core_count

    for decoder in ("pillow", "nvjpeg"):
        try:
            detector = Detector(
                network, batch_size=CARD_BATCH, workers=core_count(), decoder=decoder
            )
        except dt.DarknetError as error:
            print(f"folder, {decoder}: {error}")
            continue
        with ReaderProcesses(detector.reading, core_count()) as processes:
            work: dict[str, Callable[[], object]] = {
                "reading alone": partial(_to_the_end, processes.ahead, paths),
                "folder": partial(_to_the_end, detector.stream, paths),
            }
            rates = {k: len(paths) / each for k, each in in_turns(work, rounds=3, warm=1).items()}
        rates["folder / reading alone"] = rates["folder"] / rates["reading alone"]
        _report("long_folder", f"yolov4-tiny 416, {decoder}", rates, "images/s", options)


def _to_the_end(run: Callable[[list[str]], Iterable[object]], paths: list[str]) -> None:
    for _ in run(paths):
        pass


def _report(
    bench: str, what: str, figures: dict[str, float], unit: str, options: argparse.Namespace
) -> None:
    """Print a line, and append it to the file of --json."""
    text = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
    print(f"{bench} {what}: {text} {unit}", flush=True)
    keep(options, bench, what, unit, figures)
