"""A folder of photos from files to boxes, beside what its parts take; `tools/bench.py folder`.

The bound is what the cores could do at best: all of them busy with reading, resizing, the forward
pass and decoding as a worker does them, measured on one core. With --before, the folder alone runs
in this version and in that of another checkout, each in a process of its own.
"""

import argparse
import os
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from bench_figures import keep
from bench_turns import seconds_of
from bench_workers import Turn, quartiles_of_ratios, start_worker, take_turn

if TYPE_CHECKING:
    from darknet_torch.network import Runnable

SHARED = Path(__file__).resolve().parents[2] / "shared"
SUBJECTS = (("yolov4-tiny", 416, "forward", 0.85), ("models/yolo-fastest-1.1", 320, "bound", 0.9))
"""Network, side of its input, what its throughput is compared with, and the share promised."""
ROUNDS = 5
SAMPLE = 32
"""Pictures of the forward pass alone; batches must divide it."""


def photos_at_hand() -> list[str]:
    """Return the paths of the photos of coco128; none where ../shared is missing."""
    return sorted(map(str, (SHARED / "datasets/coco128/images").rglob("*.jpg")))


def bench_folder(options: argparse.Namespace) -> None:
    """Pictures a second through `Detector.stream`, one at a time and in batches."""
    photos = photos_at_hand()
    if not photos:
        print("folder: the photos (../shared) are not here")
        return
    for name, side, against, share in SUBJECTS:
        for batch in options.batches:
            if options.before is not None:
                _beside(options, name, side, photos, batch)
                continue
            rates = _rates(name, side, photos, batch)
            print(
                f"folder of {len(photos)} photos, {name} {side}, batch {batch}: "
                + ", ".join(f"{what} {rate:.1f}/s" for what, rate in rates.items())
                + f"; {rates['folder'] / rates[against]:.2f} x {against} (promised {share})",
                flush=True,
            )
            keep(options, "folder", f"{name} {side}, batch {batch}", "images/s", rates)


def _beside(
    options: argparse.Namespace, name: str, side: int, photos: list[str], batch: int
) -> None:
    """Print images a second of this version and of that of another checkout, in turns."""
    cfg, weights = _files(name)
    job = {
        "engine": "folder",
        "cfg": cfg,
        "weights": weights,
        "side": side,
        "batch": batch,
        "threads": os.cpu_count() or 1,
        "photos": photos,
    }
    workers = [start_worker(job), start_worker(job, package=options.before)]
    turns: tuple[list[Turn], list[Turn]] = [], []
    for number in range(1 + options.rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            each = take_turn(workers[which])
            if each is None:
                raise RuntimeError(f"folder: {'before' if which else 'this version'} cannot run")
            if number:  # the first turn is for warm caches
                turns[which].append(each)
    for worker in workers:
        worker.communicate("")
    now, before = (len(photos) / statistics.median(t.ms for t in each) * 1e3 for each in turns)
    rates = [[1 / t.ms for t in each] for each in turns]
    busy = [[t.busy_ms for t in each] for each in turns]
    low, middle, high = quartiles_of_ratios(*rates)
    work = quartiles_of_ratios(*busy)[1]
    print(
        f"folder of {len(photos)} photos, {name} {side}, batch {batch}: {now:.1f}/s, before"
        f" {before:.1f}/s: {middle:.3f} x (half of the rounds {low:.3f}-{high:.3f});"
        f" time of the cores {work:.3f} x",
        flush=True,
    )
    figures = {"now": now, "before": before, "now / before": middle}
    figures |= {"time of the cores, now / before": work}
    keep(options, "folder_before", f"{name} {side}, batch {batch}", "images/s", figures)


def folder_rate(name: str, side: int, threads: int) -> float | None:
    """Return the images a second of the folder with so many threads; None without its files."""
    import torch

    import darknet_torch as dt
    from darknet_torch.inference.detector import Detector

    photos = photos_at_hand()
    if not photos:
        return None
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        detector = Detector(dt.optimize(_network(name, side)), workers=threads)
        seconds = [seconds_of(lambda: list(detector.stream(photos))) for _ in range(1 + ROUNDS)]
    except dt.DarknetError as error:
        print(f"folder, {name}: {error}")
        return None
    finally:
        torch.set_num_threads(before)
    return len(photos) / statistics.median(seconds[1:])


def _rates(name: str, side: int, photos: list[str], batch: int) -> dict[str, float]:
    """Measure in turns; pictures a second of the folder, the forward pass alone, the bound."""
    import torch

    import darknet_torch as dt
    from darknet_torch.inference.detector import Detector
    from darknet_torch.inference.streaming import MOST_AT_ONCE, run_batches

    cores, group = os.cpu_count() or 1, max(batch, MOST_AT_ONCE)
    network = _network(name, side)
    fast = dt.optimize(network)
    detector = Detector(fast, batch_size=batch, workers=cores)
    prepared = [detector.prepare(photo) for photo in photos[:batch]]
    x = torch.stack([each.pixels for each in prepared])

    def forward() -> None:
        with torch.inference_mode():
            fast(x)

    def folder() -> None:
        for outcome in detector.stream(photos):
            assert outcome.error is None

    def serial() -> None:
        for start in range(0, len(photos), group):
            pictures = [detector.prepare(photo) for photo in photos[start : start + group]]
            run_batches(detector, pictures, batch)

    for warm in (forward, serial, folder):
        warm()
    found: dict[str, list[float]] = {"folder": [], "forward": [], "bound": []}
    for _ in range(ROUNDS):
        torch.set_num_threads(cores)
        found["folder"].append(len(photos) / seconds_of(folder))
        found["forward"].append(SAMPLE / seconds_of(forward, SAMPLE // batch))
        torch.set_num_threads(1)
        found["bound"].append(cores * len(photos) / seconds_of(serial))
    torch.set_num_threads(cores)
    return {what: statistics.median(each) for what, each in found.items()}


def _network(name: str, side: int) -> "Runnable":
    import darknet_torch as dt

    return dt.load(*_files(name), width=side, height=side)


def _files(name: str) -> tuple[str, str | None]:
    """Return cfg and weights: a name of the zoo alone, or files of a folder of ../shared."""
    if "/" not in name:
        return name, None
    (cfg,), (weights,) = (list((SHARED / name).glob(f"*.{end}")) for end in ("cfg", "weights"))
    return str(cfg), str(weights)
