"""Small videos drawn for tests, and a network that finds the squares in them."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch
from small_network import CFG
from torch import Tensor

import darknet_torch as dt
from darknet_torch.network.plan import Plan

__all__ = ["Finder", "draw_frame", "square", "write_video"]

WIDTH, HEIGHT, RATE = 160, 120, 25
TICKS = Fraction(1, 12800)
"""One frame at 25 frames a second lasts 512 of these."""

Box = tuple[int, int, int, int]


def square(number: int) -> Box:
    """Where the red square is in a frame: it moves by two pixels to the right."""
    return 10 + 2 * number, 40, 40 + 2 * number, 70


def draw_frame(number: int, where: Callable[[int], Box] = square) -> npt.NDArray[np.uint8]:
    """A red square on grey; a green one stays at the lower right."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    image[90:110, 130:150] = (0, 220, 0)
    left, top, right, bottom = where(number)
    image[top:bottom, left:right] = (220, 0, 0)
    return image


def write_video(
    path: Path | str,
    frames: int = 20,
    *,
    draw: Callable[[int], npt.NDArray[np.uint8]] = draw_frame,
    codec: str = "libx264",
    lengths: Sequence[int] = (512,),
    sound: bool = False,
    rotation: int = 0,
    gop: int = 6,
    format: str | None = None,  # noqa: A002 (PyAV's name)
) -> None:
    """Write frames, which last `lengths` ticks in turns, and a tone as long as they."""
    with av.open(str(path), "w", format=format) as out:
        video: Any = out.add_stream(codec, rate=RATE)
        height, width = draw(0).shape[:2]
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.gop_size = gop
        if codec == "libx264":
            video.codec_context.time_base = TICKS
        if rotation:
            video.set_display_rotation(rotation)
        tone: Any = out.add_stream("aac", rate=44100, layout="mono") if sound else None
        stamp = 0
        for number in range(frames):
            frame: Any = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
            frame.pts = stamp if codec == "libx264" else number
            stamp += lengths[number % len(lengths)]
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for start in range(0, int(stamp * TICKS * 44100), 1024) if sound else ():
            wave = 8000 * np.sin(np.arange(start, start + 1024) * 2 * np.pi * 440 / 44100)
            heard: Any = av.AudioFrame.from_ndarray(
                wave.astype(np.int16)[None], format="s16", layout="mono"
            )
            heard.sample_rate, heard.pts = 44100, start
            out.mux(tone.encode(heard))
        if sound:
            out.mux(tone.encode(None))


class Finder:
    """A network that finds red squares (class "ant") and green ones ("bee"); see `Runnable`."""

    names = ("ant", "bee")
    device, dtype, input_dtype = torch.device("cpu"), torch.float32, torch.float32
    contents = "boxes"
    letterbox = False
    score = 0.9

    def __init__(self, *, concurrent: bool = True) -> None:
        self.plan: Plan = dt.plan(CFG)
        self.concurrent = concurrent
        self.batches = list[int]()

    def __call__(self, x: Tensor, /) -> tuple[Tensor, Tensor]:
        self.batches.append(len(x))
        boxes, scores = torch.zeros(len(x), 2, 4), torch.zeros(len(x), 2, 2)
        for number, image in enumerate(x):
            for class_id, other in ((0, 1), (1, 0)):
                y, x_ = ((image[class_id] - image[other]) > 0.4).nonzero(as_tuple=True)
                if len(y):
                    box = (x_.min(), y.min(), x_.max() + 1, y.max() + 1)
                    boxes[number, class_id] = torch.stack(box) / 64
                    scores[number, class_id, class_id] = self.score
        return boxes, scores
