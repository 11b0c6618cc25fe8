"""Small data sets on the disk, the cfg of a small detector, and what tests compare."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from darknet_torch.data import Dataset

XML = """<annotation>
<size><width>40</width><height>20</height><depth>3</depth></size>
{}
</annotation>"""
OBJECT = """<object><name>{}</name>{}
<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""


DETECTOR_CFG = """[net]
width=32
height=32
channels=3
[convolutional]
filters=14
size=4
stride=4
activation=linear
[yolo]
mask=0,1
anchors=8,12, 18,16
classes=2
num=2
"""
"""A detector with two classes for images of 32 x 32 pixels."""


def write_image(path: Path, size: tuple[int, int] = (40, 20), orientation: int = 1) -> Path:
    """Write an image of that size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, (9, 99, 99)).save(path, exif=exif)
    return path


def lay(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files; those that end as images and have no content become images."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".jpg") and not content:
            write_image(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def voc(*objects: tuple[Any, ...]) -> str:
    """An annotation: (name, flags as XML, four corners) an object."""
    return XML.format("\n".join(OBJECT.format(*each) for each in objects))


def boxes(dataset: Dataset, index: int = 0) -> list[tuple[int, list[float]]]:
    """(class, corners) of each box of an image, to a millionth of a pixel."""
    objects = dataset.samples[index].ground_truth
    corners = objects.xyxy.round(6).tolist()
    return list(zip(objects.class_id.tolist(), corners, strict=True))


def problems(dataset: Dataset, folder: Path) -> list[tuple[str, str]]:
    """(kind, file and line below the folder) of each problem."""
    return [(each.kind, each.where.replace(f"{folder}/", "")) for each in dataset.problems]
