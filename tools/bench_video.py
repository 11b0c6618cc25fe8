"""A video from file to boxes, and to an annotated file, beside the forward pass alone.

Frames in a second through `dt.video`, which reads, computes and postprocesses, and through the
same with an annotated file written; `tools/bench.py video`. The memory is that of a long video.
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

from bench_turns import seconds_of

FRAMES, ROUNDS, WIDTH, HEIGHT = 200, 3, 640, 480
PROMISED = 0.9


def bench_video(_: argparse.Namespace) -> None:
    """yolov4-tiny 416 on 200 frames of 640 x 480, in turns with its forward pass.

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

        def forward(count: int = FRAMES) -> None:
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
            "forward": forward,
            "forward in threads": in_threads,
            "video": boxes,
            "annotated": lambda: write_annotated(fast, path, out),
        }
        found = {name: list[tuple[float, float]]() for name in work}
        for _round in range(1 + ROUNDS):
            for name, run in work.items():
                found[name].append(_seconds(run))
    wall = {name: statistics.median(w for w, _ in each[1:]) for name, each in found.items()}
    cpu = {name: statistics.median(c for _, c in each[1:]) for name, each in found.items()}
    best = min(wall["forward"], wall["forward in threads"])
    print(
        f"video of {FRAMES} frames {WIDTH}x{HEIGHT}, yolov4-tiny 416: "
        + ", ".join(
            f"{name} {FRAMES / wall[name]:.1f}/s ({cpu[name] / FRAMES * 1e3:.0f} ms of a core)"
            for name in work
        )
        + f"; {best / wall['video']:.2f} x forward (promised {PROMISED}),"
        f" {best / wall['annotated']:.2f} x with an annotated file",
        flush=True,
    )


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
