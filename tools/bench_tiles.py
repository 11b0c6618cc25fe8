"""Measure detection in a huge image tile by tile: recall, doubles and memory."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from bench_fresh import fresh

__all__ = ["bench_tiles"]

SIDE, OBJECTS = 20_000, 500
PARTS = ((0, 0, 310, 512), (384, 0, 768, 305), (384, 306, 768, 512))
"""Of the sample image: a person, a cup, a cat."""
TILED = """
import json, resource, sys
import torch
import darknet_torch as dt
from darknet_torch.inference import tiled
from darknet_torch.inference.detector import Detector

class Watched(tiled.TiledDetector):
    def _of_tiles(self, image):
        for objects in super()._of_tiles(image):
            parts.append(objects.xyxy)
            yield objects

parts = []
path, out = sys.argv[1:]
detector = Detector(dt.load("yolov4-tiny"), tiles="auto", max_pixels=0, batch_size=4)
(outcome,) = Watched(detector, detector.tile, detector.overlap).stream([path])
if outcome.error:
    raise outcome.error
found = outcome.result
torch.save({"tiles": torch.cat(parts), "joined": found.xyxy, "class_id": found.class_id}, out)
print(json.dumps({"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def bench_tiles(_: argparse.Namespace) -> None:
    """500 pasted objects in 20,000 x 20,000 pixels, with yolov4-tiny; takes some minutes."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "huge.jpg", Path(folder) / "out.pt"
        boxes = torch.tensor(_paste(path, SIDE, OBJECTS)).float()
        row = fresh(TILED, str(path), str(out))
        found = torch.load(out, weights_only=True)
    recalls = {name: _recall(boxes, found[name]) for name in ("tiles", "joined")}
    doubles = _doubles(found["joined"], found["class_id"])
    print(
        f"tiles of a {SIDE} x {SIDE} image with {OBJECTS} objects: recall {recalls['joined']:.3f},"
        f" of the tiles alone {recalls['tiles']:.3f}; {len(found['tiles'])} boxes of tiles,"
        f" {len(found['joined'])} after joining, {doubles} doubles; memory at peak"
        f" {row['memory'] / 1e9:.2f} GB (bound 2)"
    )


def _paste(path: Path, side: int, count: int) -> list[list[int]]:
    """Write a grey image with objects that do not overlap; return their boxes."""
    import numpy as np
    import pyvips
    from PIL import Image

    import darknet_torch as dt

    rng = np.random.default_rng(0)
    sample = Image.open(dt.SAMPLE)
    image = np.full((side, side, 3), 110, np.uint8)
    boxes: list[list[int]] = []
    while len(boxes) < count:
        part = sample.crop(PARTS[len(boxes) % len(PARTS)])
        scale = rng.uniform(80, 300) / max(part.size)
        part = part.resize((round(part.width * scale), round(part.height * scale)))
        left, top = (int(rng.integers(0, side - size)) for size in part.size)
        right, bottom = left + part.width, top + part.height
        near = (left - 20, top - 20, right + 20, bottom + 20)
        if not any(_overlap(near, each) for each in boxes):
            image[top:bottom, left:right] = np.asarray(part)
            boxes.append([left, top, right, bottom])
    pyvips.Image.new_from_memory(image.data, side, side, 3, "uchar").jpegsave(str(path), Q=92)
    return boxes


def _overlap(a: Any, b: Any) -> bool:
    return bool(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def _recall(boxes: Any, found: Any) -> float:
    """Return the share of pasted parts that a box matches with an IoU of one half."""
    return float(_ious(boxes, found).ge(0.5).any(dim=1).float().mean())


def _doubles(xyxy: Any, class_id: Any) -> int:
    """Return the number of boxes that lie to 70 % in another box of their class."""
    import torch

    low = torch.maximum(xyxy[:, None, :2], xyxy[None, :, :2])
    high = torch.minimum(xyxy[:, None, 2:], xyxy[None, :, 2:])
    inside = (high - low).clamp_min(0).prod(dim=2) / (xyxy[:, 2:] - xyxy[:, :2]).prod(dim=1)[
        :, None
    ]
    same = class_id[:, None] == class_id[None]
    inside.fill_diagonal_(0)
    return int(((inside > 0.7) & same).any(dim=1).sum())


def _ious(a: Any, b: Any) -> Any:
    from darknet_torch.heads.boxes import iou

    return iou(a[:, None].expand(-1, len(b), 4), b[None].expand(len(a), -1, 4))
