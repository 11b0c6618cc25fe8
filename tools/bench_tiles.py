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
            numbers.append(objects.tile)
            yield objects

parts, numbers = [], []
path, out = sys.argv[1:]
detector = Detector(dt.load("yolov4-tiny"), tiles="auto", max_pixels=0, batch_size=4)
(outcome,) = Watched(detector, detector.tile, detector.overlap).stream([path])
if outcome.error:
    raise outcome.error
found = outcome.result
of_tiles = {"tiles": torch.cat(parts), "numbers": torch.cat(numbers)}
torch.save(of_tiles | {"joined": found.xyxy, "class_id": found.class_id}, out)
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
    doubles, own = _doubles(found)
    print(
        f"tiles of a {SIDE} x {SIDE} image with {OBJECTS} objects: recall {recalls['joined']:.3f},"
        f" of the tiles alone {recalls['tiles']:.3f}; {len(found['tiles'])} boxes of tiles,"
        f" {len(found['joined'])} after joining, {doubles} doubles across"
        f" edges, {own} that the network sees in one tile; memory at peak"
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


def _doubles(found: dict[str, Any]) -> tuple[int, int]:
    """Return how many boxes lie to 70 % in another of their class: of other tiles, of one tile."""
    import torch

    xyxy, class_id = found["joined"], found["class_id"]
    low = torch.maximum(xyxy[:, None, :2], xyxy[None, :, :2])
    high = torch.minimum(xyxy[:, None, 2:], xyxy[None, :, 2:])
    inside = (high - low).clamp_min(0).prod(dim=2)
    inside /= (xyxy[:, 2:] - xyxy[:, :2]).prod(dim=1)[:, None]
    pairs = ((inside > 0.7) & (class_id[:, None] == class_id)).fill_diagonal_(False).nonzero()
    tiles = [
        {int(n) for n in found["numbers"][(found["tiles"] - box).abs().amax(dim=1) < 0.5]}
        for box in xyxy
    ]
    own = sum(bool(tiles[a] & tiles[b]) for a, b in pairs.tolist())
    return len(pairs) - own, own


def _ious(a: Any, b: Any) -> Any:
    from darknet_torch.heads.boxes import iou

    return iou(a[:, None].expand(-1, len(b), 4), b[None].expand(len(a), -1, 4))
