"""A video from file to boxes, and to an annotated file, beside the forward pass alone.

Frames in a second through `dt.video`, which reads, computes and postprocesses, and through the
same with an annotated file written; `tools/bench.py video`. The memory is that of a long video.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench_turns import seconds_of

FRAMES, ROUNDS, WIDTH, HEIGHT = 200, 5, 640, 480
PROMISED = 0.9


def bench_video(_: argparse.Namespace) -> None:
    """yolov4-tiny 416 on 200 frames of 640 x 480, in turns with its forward pass."""
    import torch

    import darknet_torch as dt

    fast = dt.optimize(dt.load("yolov4-tiny"))
    x = torch.rand(1, 3, 416, 416)
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "street.mp4"), Path(folder, "out.mp4")
        draw_video(path, FRAMES)

        def forward() -> None:
            with torch.inference_mode():
                fast(x)

        def boxes() -> None:
            with dt.video(fast, path, workers=os.cpu_count() or 1) as frames:
                assert sum(1 for _ in frames) == FRAMES

        def written() -> None:
            write_annotated(fast, path, out)

        found: dict[str, list[float]] = {"forward": [], "video": [], "annotated": []}
        for _round in range(1 + ROUNDS):
            found["forward"].append(FRAMES / seconds_of(forward, FRAMES))
            found["video"].append(FRAMES / seconds_of(boxes))
            found["annotated"].append(FRAMES / seconds_of(written))
    rates = {what: statistics.median(each[1:]) for what, each in found.items()}
    print(
        f"video of {FRAMES} frames {WIDTH}x{HEIGHT}, yolov4-tiny 416: "
        + ", ".join(f"{what} {rate:.1f}/s" for what, rate in rates.items())
        + f"; {rates['video'] / rates['forward']:.2f} x forward (promised {PROMISED}),"
        f" {rates['annotated'] / rates['forward']:.2f} x with an annotated file",
        flush=True,
    )


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
