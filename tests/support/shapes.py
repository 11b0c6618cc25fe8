"""Data sets of drawn shapes, small enough to learn in seconds."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLORS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 60, 230)}

CONV = """[convolutional]
batch_normalize=1
filters={}
size=3
stride=2
pad=1
activation=leaky
"""
OUTPUTS = "[convolutional]\nfilters={}\nsize=1\nactivation=linear\n"

DETECTOR = f"""[net]
batch=8
subdivisions=2
width=32
height=32
channels=3
momentum=0.9
decay=0.0005
learning_rate=0.005
burn_in=4
max_batches=12
policy=steps
steps=8
scales=.1
hue=.02
saturation=1.2
exposure=1.2
{CONV.format(8)}{CONV.format(16)}{CONV.format(16)}{OUTPUTS.format(16)}[yolo]
mask=0,1
anchors=8,8, 16,16
classes=3
num=2
jitter=.1
ignore_thresh=.6
iou_loss=ciou
iou_normalizer=.07
"""

CLASSIFIER = f"""[net]
batch=8
subdivisions=2
width=16
height=16
channels=3
learning_rate=0.05
max_batches=20
momentum=.9
decay=.0005
min_crop=16
max_crop=20
{CONV.format(8)}{OUTPUTS.format(3)}[avgpool]
[softmax]
"""


def draw_detection_set(folder: Path, images: int = 24, *, side: int = 48, seed: int = 0) -> Path:
    """Write images of one to three coloured squares with Darknet labels; return the .yaml."""
    random = np.random.default_rng(seed)
    for split, count in (("train", images), ("val", images // 2)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, rows = _squares(random, side)
            image.save(folder / split / f"{number:03}.png")
            (folder / split / f"{number:03}.txt").write_text(rows)
    path = folder / "shapes.yaml"
    path.write_text("train: train\nval: val\nnames: [red, green, blue]\nformat: darknet\n")
    return path


def _squares(random: np.random.Generator, side: int) -> tuple[Image.Image, str]:
    grey = random.integers(90, 160, (side, side, 1)).repeat(3, axis=2).astype(np.uint8)
    image = Image.fromarray(grey)
    draw, rows = ImageDraw.Draw(image), []
    for _ in range(random.integers(1, 4)):
        class_id, size = int(random.integers(3)), int(random.integers(side // 5, side // 3))
        x, y = random.integers(0, side - size, 2).tolist()
        draw.rectangle((x, y, x + size - 1, y + size - 1), fill=list(COLORS.values())[class_id])
        box = ((x + size / 2) / side, (y + size / 2) / side, size / side, size / side)
        rows.append(" ".join(map(str, (class_id, *box))))
    return image, "\n".join(rows) + "\n"


def draw_class_folders(folder: Path, images: int = 12, *, side: int = 20, seed: int = 0) -> Path:
    """Write folders train/COLOR and val/COLOR of images with much of that colour; return it."""
    random = np.random.default_rng(seed)
    for split in ("train", "val"):
        for name, color in COLORS.items():
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(images):
                noise = random.integers(-40, 40, (side, side, 3))
                pixels = np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number:03}.png")
    path = folder / "colors.yaml"
    path.write_text("train: train\nval: val\nnames: [red, green, blue]\nformat: folders\n")
    return path
