"""Train a detector on a data set of your own: images of drawn shapes, labelled in Darknet's format.

    python docs/examples/train_own_data.py

It draws the data set into the folder `shapes`, trains a small network in some seconds, and detects
with it. It prints:

    120 images, 3 classes: circle, square, triangle
    batch 50 of 150
    batch 100 of 150
    batch 150 of 150
    mAP@0.50 over 0.5: yes
    trained as long as max_batches says
    shapes-run: shapes.cfg, shapes.names, shapes_best.weights, shapes_last.weights

The command does the same: `darknet-torch train shapes.cfg shapes/shapes.yaml --scratch`. For images
of your own take a network that has seen images before: `dt.load("yolov4-tiny")`.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import darknet_torch as dt
from darknet_torch import data
from darknet_torch.training.callbacks import BatchReport, Callback

NAMES = ("circle", "square", "triangle")
COLORS = ((214, 69, 65), (52, 112, 219), (46, 160, 90))

CONVOLUTION = """
[convolutional]
batch_normalize=1
filters={filters}
size=3
stride={stride}
pad=1
activation=leaky
"""
CFG = f"""
[net]
width=64
height=64
channels=3
batch=8
subdivisions=1
learning_rate=0.02
momentum=0.9
decay=0.0005
burn_in=10
policy=steps
steps=120
scales=0.1
max_batches=150
hue=0.1
saturation=1.5
exposure=1.5
{CONVOLUTION.format(filters=16, stride=2)}
{CONVOLUTION.format(filters=32, stride=2)}
{CONVOLUTION.format(filters=64, stride=2)}
{CONVOLUTION.format(filters=64, stride=1)}
# 2 anchors x (4 of the box + 1 objectness + 3 classes)
[convolutional]
filters=16
size=1
activation=linear

[yolo]
mask=0,1
anchors=16,16, 26,26
num=2
classes=3
jitter=.1
ignore_thresh=.7
iou_loss=ciou
iou_normalizer=.07
"""


def draw_dataset(folder: Path, train: int = 120, val: int = 40, side: int = 128) -> Path:
    """Write images with a label file each, and shapes.yaml, which says where they are."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, labels = draw_image(random, side)
            image.save(folder / split / f"{number:03}.png")
            (folder / split / f"{number:03}.txt").write_text(labels)
    path = folder / "shapes.yaml"
    path.write_text(f"train: train\nval: val\nnames: [{', '.join(NAMES)}]\n")
    return path


def draw_image(random: np.random.Generator, side: int) -> tuple[Image.Image, str]:
    """Return an image of one to three shapes, and its label file: class, x, y, width, height."""
    coarse = random.integers(150, 235, (side // 24, side // 24, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize((side, side))
    draw, labels, cells = ImageDraw.Draw(image), "", random.permutation(4)
    for cell in cells[: random.integers(1, 4)]:  # a shape in a quarter of the image at most
        size = int(random.integers(side // 5, side // 2 - 8))
        corner = random.integers(0, side // 2 - size, 2) + (cell % 2, cell // 2) * np.array(
            side // 2
        )
        x, y = corner.tolist()
        class_id = int(random.integers(len(NAMES)))
        draw_shape(draw, NAMES[class_id], (x, y, x + size, y + size), COLORS[class_id])
        middle = ((x + size / 2) / side, (y + size / 2) / side)
        labels += (
            f"{class_id} {middle[0]:.5f} {middle[1]:.5f} {size / side:.5f} {size / side:.5f}\n"
        )
    return image, labels


def draw_shape(
    draw: ImageDraw.ImageDraw,
    name: str,
    box: tuple[int, int, int, int],
    color: tuple[int, int, int],
) -> None:
    """Draw a shape that fills a box."""
    left, top, right, bottom = box
    if name == "circle":
        draw.ellipse(box, fill=color)
    elif name == "square":
        draw.rectangle(box, fill=color)
    else:
        draw.polygon([(left, bottom), (right, bottom), ((left + right) / 2, top)], fill=color)


class EveryFifty(Callback):
    """Prints a line for each fifty batches."""

    def on_batch(self, report: BatchReport) -> None:
        """Take the figures of a batch."""
        if report.batch % 50 == 0:
            print(f"batch {report.batch} of {report.batches}")


def main() -> None:
    """Draw, train, detect, print."""
    source = draw_dataset(Path("shapes"))
    dataset = data.read(source, "train")
    print(f"{len(dataset)} images, {len(dataset.names)} classes: {', '.join(dataset.names)}")

    Path("shapes.cfg").write_text(CFG)
    torch.manual_seed(0)  # of the random values that training starts from
    network = dt.build("shapes.cfg")
    result = dt.train(
        network,
        source,
        folder="shapes-run",
        dtype="float32",
        cache="ram",
        workers=0,
        callbacks=[EveryFifty()],
    )
    print("mAP@0.50 over 0.5:", "yes" if result.score is not None and result.score > 0.5 else "no")
    print(f"trained as long as {result.stopped} says")

    again = dt.load(result.cfg, result.weights)  # files that Darknet reads, too
    found = dt.detect(again, "shapes/val/000.png")
    assert isinstance(found, dt.Detections)  # of one image; of several it is a list
    found.draw().save("shapes.png")
    files = sorted(path.name for path in result.folder.glob("shapes*"))
    print(f"{result.folder}: {', '.join(files)}")


if __name__ == "__main__":
    main()
