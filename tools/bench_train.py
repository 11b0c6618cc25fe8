"""Training: the loop with reading and augmenting, beside bare forward, backward and SGD."""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench_figures import keep
from bench_fresh import fresh
from bench_turns import in_turns, seconds_of

__all__ = [
    "Bare",
    "bench_augment",
    "bench_faults",
    "bench_images",
    "bench_train",
    "some_network",
]

C_RATES = {"yolov4-tiny": 1.5, "blocks": 6.05}
"""Images per second of AlexeyAB's program on two cores, as measured for the project's plan."""
TURN, AHEAD = 8, 3
"""Batches of a turn, and how many of them may have been read ahead."""

BLOCK = """[convolutional]
batch_normalize=1
filters={}
size=3
pad=1
activation=leaky
[maxpool]
size=2
stride=2
"""
BLOCKS = (
    "[net]\nwidth=320\nheight=320\nchannels=3\nbatch=32\nsubdivisions=4\nmax_batches=9\n"
    "learning_rate=0.0001\nhue=.1\nsaturation=1.5\nexposure=1.5\n"
    + "".join(BLOCK.format(filters) for filters in (16, 32, 64, 128, 256))
    + "[convolutional]\nfilters=40\nsize=1\nactivation=linear\n"
    "[region]\nclasses=3\nnum=5\nanchors=1,1,2,2,3,3,4,4,5,5\nsoftmax=1\nbias_match=1\n"
)
"""A small network of YOLOv2's kind."""

READ = """
import json, sys
import torch
from darknet_torch.images.reading import read
def peak():
    line = next(l for l in open("/proc/self/status") if l.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
base = peak()
image = read(sys.argv[1])
print(json.dumps({"memory": peak() - base}))
"""

MEMORY = """
import json, sys
import torch, darknet_torch as dt
from darknet_torch.network.editing import with_classes
from darknet_torch.training.loop import train
folder, data = sys.argv[1:]
def peak():
    line = next(l for l in open("/proc/self/status") if l.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
network = with_classes(dt.build("yolov4-tiny"), 3)
train(network, data, folder=folder, batch=64, subdivisions=8, max_batches=2, workers=0)
print(json.dumps({"memory": peak()}))
"""


FAULTS = """
import json, resource, sys, time
name, keep, tools = sys.argv[1:]
sys.path.insert(0, tools)
from bench_train import Bare, some_network
from darknet_torch.speed.freed_memory import LARGEST_IN_TRAINING, keep_freed_memory
if keep == "kept":
    assert keep_freed_memory(LARGEST_IN_TRAINING)
bare = Bare(some_network(name))
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(2):
    bare.step()
before, times = faults(), []
for _ in range(5):
    start = time.perf_counter()
    bare.step()
    times.append(time.perf_counter() - start)
faults = (faults() - before) / len(times)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
print(json.dumps({"seconds": sorted(times)[2], "faults": faults, "peak": peak}))
"""


def bench_faults(options: argparse.Namespace) -> None:
    """Bare training steps with freed memory kept, and given back to the system, in turns."""
    for name in ("yolov4-tiny", "blocks"):
        found: dict[str, list[dict[str, float]]] = {"given back": [], "kept": []}
        for _ in range(3):
            for way, runs in found.items():
                runs.append(fresh(FAULTS, name, way, str(Path(__file__).parent)))
        ms, faults, peak = (
            {
                way: scale * statistics.median(run[what] for run in runs)
                for way, runs in found.items()
            }
            for what, scale in (("seconds", 1e3), ("faults", 1), ("peak", 1))
        )
        print(
            f"faults {name}: {ms['kept']:.0f} ms and {faults['kept']:.0f} page faults a step of 8"
            f" images; with memory given back {ms['given back']:.0f} and"
            f" {faults['given back']:.0f}: {ms['kept'] / ms['given back']:.2f} x the time,"
            f" {peak['kept'] / peak['given back']:.2f} x the memory at the peak"
        )
        figures = {
            "kept, ms": ms["kept"],
            "given back, ms": ms["given back"],
            "kept / given back": ms["kept"] / ms["given back"],
            "page faults, kept": faults["kept"],
            "page faults, given back": faults["given back"],
            "peak, kept, MB": peak["kept"],
            "peak, given back, MB": peak["given back"],
        }
        what = {"blocks": "YOLOv2 of five blocks 320"}.get(name, f"{name} 416")
        keep(options, "faults", f"{what}, a step of 8 images", "ms", figures)


def bench_train(options: argparse.Namespace) -> None:
    """Images per second of the loop and of bare passes, in turns; memory of a large batch."""
    from darknet_torch.speed.idle_threads import let_idle_threads_sleep

    let_idle_threads_sleep()  # as the command does
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
    from shapes import draw_detection_set

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = draw_detection_set(folder / "data", images=64, side=480)
        if options.device != "cpu":
            from bench_train_card import compare_on_card  # which uses this module

            compare_on_card(data, folder, options.device)
            return
        for network in ("yolov4-tiny", "blocks"):
            _compare(network, data, folder / network)
        used = fresh(MEMORY, str(folder / "memory"), str(data))["memory"]
    print(f"memory of yolov4-tiny 416, batch 64 in 8 parts: {used / 1e9:.2f} GB (bound 3)")


def _compare(name: str, data: Path, folder: Path) -> None:
    from darknet_torch.data import read
    from darknet_torch.training.callbacks import BatchReport, Callback
    from darknet_torch.training.loop import train

    network = some_network(name)
    bare = Bare(some_network(name))

    class Turns(Callback):
        """Some batches of the loop, then as many bare ones, in turns."""

        def __init__(self) -> None:
            self.loop, self.bare, self.begun = list[float](), list[float](), 0.0

        def on_batch(self, report: BatchReport) -> None:
            place = (report.batch - 1) % TURN
            if place >= AHEAD:  # what was read while the bare ones ran does not count
                self.loop.append(time.perf_counter() - self.begun)
            if place == TURN - 1:
                self.bare += [seconds_of(bare.step, 4) for _ in range(TURN - AHEAD)]
            self.begun = time.perf_counter()

    turns = Turns()
    data_set = read(data, "train")
    train(
        network,
        data_set,
        folder=folder,
        batch=32,
        subdivisions=4,
        max_batches=2 * TURN,
        cache="ram",
        callbacks=[turns],
    )
    loop, plain = (32 / statistics.median(each) for each in (turns.loop, turns.bare))
    print(
        f"train {name}, batch 32 in 4 parts: {loop:.2f} images/s = {loop / plain:.2f} x bare"
        f" forward + backward + SGD, {plain:.2f} (bound .9); {loop / C_RATES[name]:.1f} x"
        " AlexeyAB's C as measured elsewhere"
    )


def bench_augment(_: argparse.Namespace) -> None:
    """Training images per second of one process, decoded images in memory; losses of heads."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
    from shapes import draw_detection_set

    from darknet_torch.data import read
    from darknet_torch.training.augment_options import AugmentOptions
    from darknet_torch.training.batches import batches

    plan = some_network("yolov4-tiny").plan
    with tempfile.TemporaryDirectory() as name:
        data = read(draw_detection_set(Path(name), images=64, side=560), "train")
        ways = {
            "as the cfg has it": {},
            "with mosaic": {"mosaic": True},
            "none": {"augment": False},
        }
        sources = {
            what: batches(
                data, plan, AugmentOptions.of(plan, **changes), batch=16, seed=0, cache="ram",
                size_of=lambda _: (416, 416),
            )
            for what, changes in ways.items()
        }  # fmt: skip
        work: dict[str, Callable[[], object]] = {
            what: partial(next, source) for what, source in sources.items()
        }
        for what, seconds in in_turns(work, rounds=8, warm=5).items():  # (64 images are read once)
            print(f"augment 560 -> 416, {what}: {16 / seconds:.0f} images/s of one process")


def bench_images(_: argparse.Namespace) -> None:
    """Memory that the largest images take while they are read, in fresh processes."""
    import numpy as np
    from PIL import Image

    side = int((Image.MAX_IMAGE_PIXELS or 1) ** 0.5)
    with tempfile.TemporaryDirectory() as name:
        png, tiff = Path(name) / "rgb.png", Path(name) / "floats.tif"
        Image.new("RGB", (side, side)).save(png, compress_level=1)
        Image.fromarray(np.zeros((side, side), np.float32)).save(tiff, compression="tiff_deflate")
        for path in (png, tiff):
            used = fresh(READ, str(path))["memory"]
            print(f"memory of {path.name}, {side} x {side}: {used / 1e9:.2f} GB at most")


def some_network(name: str) -> Any:
    import darknet_torch as dt
    from darknet_torch.network.editing import with_classes

    return dt.build(BLOCKS) if name == "blocks" else with_classes(dt.build(name), 3)


class Bare:
    """Forward, backward and SGD in torch alone, on images that are there: what the loop adds to."""

    def __init__(self, network: Any, images: int = 8, *, compiled: bool = False) -> None:
        import torch

        from darknet_torch.training.precision import autocast, choose_dtype

        self.torch, self.autocast = torch, autocast
        self.network = network.to(memory_format=torch.channels_last).train().requires_grad_(True)
        self.dtype = choose_dtype("auto", network.device)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4, fused=True
        )
        width, height = network.input_size
        x = torch.rand(images, 3, height, width, device=network.device)
        self.x = x.contiguous(memory_format=torch.channels_last)
        self.model = torch.compile(self.network) if compiled else self.network

    def step(self) -> None:
        """Train with one mini-batch of 8."""
        with self.autocast(self.network.device, self.dtype):
            outputs = self.model(self.x)
        sum(each.float().square().mean() for each in outputs).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
