"""A video from file to boxes, and to an annotated file, beside the forward pass alone.

Frames in a second through `dt.video`, which reads, computes and postprocesses, and through the
same with an annotated file written; then each stage alone, in milliseconds of a core, and what
FFmpeg alone leaves of the forward pass's rate: nothing can be faster than that.
`tools/bench.py video`.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench_figures import keep
from bench_turns import seconds_of

FRAMES, ROUNDS, WIDTH, HEIGHT = 100, 3, 640, 480
FEW = 20
"""Frames of the forward pass with all cores."""
PROMISED = 0.9


def bench_video(options: argparse.Namespace) -> None:
    """yolov4-tiny 416 on frames of 640 x 480, in turns with its forward pass.

    The forward pass has all cores for one frame at a time, or each of as many threads has one
    frame and one core, as in `dt.video`; the better of the two is what the video is compared with.
    """
    import torch

    import darknet_torch as dt

    fast, cores = dt.optimize(dt.load("yolov4-tiny")), os.cpu_count() or 1
    x = torch.rand(1, 3, 416, 416)
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "street.mp4"), Path(folder, "out.mp4")
        draw_video(path, FRAMES)

        def forward(count: int) -> None:
            with torch.inference_mode():
                for _ in range(count):
                    fast(x)

        def in_threads() -> None:
            def share(_: int) -> None:
                torch.set_num_threads(1)  # of this thread
                forward(FRAMES // cores)

            with ThreadPoolExecutor(cores) as pool:
                list(pool.map(share, range(cores)))
            torch.set_num_threads(cores)

        def boxes() -> None:
            with dt.video(fast, path, workers=cores) as frames:
                assert sum(1 for _ in frames) == FRAMES

        work: dict[str, Callable[[], object]] = {
            "forward": lambda: forward(FEW),
            "forward in threads": in_threads,
            "video": boxes,
            "annotated": lambda: write_annotated(fast, path, out),
        }
        wall, cpu = medians(work)
        for each in (wall, cpu):
            each["forward"] *= FRAMES / FEW
        _, alone = medians(stages(fast, path, out))
    report(wall, cpu, alone, options)


def report(
    wall: dict[str, float],
    cpu: dict[str, float],
    alone: dict[str, float],
    options: argparse.Namespace,
) -> None:
    """Print rates, milliseconds of a core, and shares.

    Args:
        wall: seconds of the forward pass, and of videos.
        cpu: seconds of a core, of the same.
        alone: seconds of a core, of the stages.
        options: of tools/bench.py.
    """
    ms = {name: seconds / FRAMES * 1e3 for name, seconds in (cpu | alone).items()}
    best, passes = (min(each["forward"], each["forward in threads"]) for each in (wall, ms))
    videos = ("video", "annotated")
    ffmpeg = passes + ms["decode"] + ms["convert and encode"]
    rows = {
        "frames a second": {name: FRAMES / seconds for name, seconds in wall.items()},
        "ms of a core a frame": ms,
        "share of the forward pass, by time": {
            **{name: best / wall[name] for name in videos},
            "at least": PROMISED,
        },
        "share of the forward pass, by time of a core": {
            **{name: passes / ms[name] for name in videos},
            "forward pass and FFmpeg alone": passes / ffmpeg,
            "at least": PROMISED,
        },
    }
    print(f"video of {FRAMES} frames {WIDTH} x {HEIGHT}, yolov4-tiny 416:")
    for what, figures in rows.items():
        shown = ", ".join(f"{name} {each:.3g}" for name, each in figures.items())
        print(f"  {what}: {shown}", flush=True)
        keep(options, "video", what, "", figures)


def medians(
    work: dict[str, Callable[[], object]],
) -> tuple[dict[str, float], dict[str, float]]:
    """Return seconds, and seconds of a core, of each piece of work; they take turns."""
    found = {name: list[tuple[float, float]]() for name in work}
    for _round in range(1 + ROUNDS):
        for name, run in work.items():
            found[name].append(_seconds(run))
    wall = {name: statistics.median(w for w, _ in each[1:]) for name, each in found.items()}
    return wall, {name: statistics.median(c for _, c in each[1:]) for name, each in found.items()}


def stages(network: Any, path: Path, out: Path) -> dict[str, Callable[[], object]]:
    """Return the stages of a video but for the forward pass, each for all frames, in one thread."""
    import numpy as np
    import torch

    import darknet_torch as dt
    from darknet_torch.inference.detector import Detector
    from darknet_torch.videos.detecting import TOGETHER
    from darknet_torch.videos.places import place_of
    from darknet_torch.videos.reading import Reader, Span
    from darknet_torch.videos.writing import VideoWriter

    detector = Detector(network)
    with dt.video(network, path) as video:
        frames = list(video)
    torch.set_num_threads(1)
    images = [torch.from_numpy(frame.image).permute(2, 0, 1) for frame in frames]
    prepared = [detector.prepare(image) for image in images]
    parts = [prepared[start : start + TOGETHER] for start in range(0, FRAMES, TOGETHER)]
    raw = [detector.forward(part) for part in parts]

    drawn = [np.asarray(frame.draw()) for frame in frames]

    def write() -> None:
        with VideoWriter(out) as writer:
            for frame, image in zip(frames, drawn, strict=True):
                writer.write(image, frame.time, frame.duration)

    def postprocess() -> None:
        for outputs, part in zip(raw, parts, strict=True):
            detector.postprocess(outputs, part)

    return {
        "decode": lambda: list(Reader(place_of(path), Span()).frames()),
        "resize": lambda: [detector.prepare(image) for image in images],
        "postprocess": postprocess,
        "draw": lambda: [np.asarray(frame.draw()) for frame in frames],
        "convert and encode": write,
    }


def _seconds(run: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that a call takes, and those of all its threads on a core."""
    begun = time.process_time()
    wall = seconds_of(run)
    return wall, time.process_time() - begun


def write_annotated(network: Any, path: Path, out: Path) -> None:
    """Detect in a video, and write it with the boxes."""
    import numpy as np

    import darknet_torch as dt
    from darknet_torch.videos.writing import VideoWriter

    with dt.video(network, path, workers=os.cpu_count() or 1) as frames, VideoWriter(out) as writer:
        for frame in frames:
            writer.write(np.asarray(frame.draw()), frame.time, frame.duration)


def draw_video(path: Path, frames: int) -> None:
    """Write a video: a window that moves over the sample image."""
    import numpy as np
    from PIL import Image

    import darknet_torch as dt
    from darknet_torch.videos.writing import VideoWriter

    image = Image.open(dt.SAMPLE).convert("RGB").resize((WIDTH + 160, HEIGHT + 160))
    with VideoWriter(path) as writer:
        for number in range(frames):
            x, y = (abs(number * step % 320 - 160) for step in (1, 2))
            view = image.crop((x, y, x + WIDTH, y + HEIGHT))
            writer.write(np.asarray(view), number / 25, 1 / 25)
