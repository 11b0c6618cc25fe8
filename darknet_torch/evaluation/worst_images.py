"""The images with the most errors as PNG: ground truth and detections side by side."""

import io
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from darknet_torch.data.dataset import Sample
from darknet_torch.files import write_atomically
from darknet_torch.inference.detections import Detections

__all__ = ["write_worst_images"]

_GAP, _SIDE = 8, 640


def write_worst_images(
    images: Iterable[tuple[Sample, Detections, int]], folder: str | PathLike[str]
) -> list[Path]:
    """Write a PNG for each image: its ground truth on the left, its detections on the right.

    Args:
        images: (sample, its detections, number of false positives and false negatives); the file's
            names begin with the position here, from 1.
        folder: made if it does not exist.

    Returns:
        The paths of the PNGs.

    Raises:
        ImageError: an image cannot be read.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, (sample, detections, errors) in enumerate(images, 1):
        sheet = _side_by_side(sample, detections, errors)
        path = folder / f"{number:03d}-{sample.path.stem[:80]}.png"
        written.append(_write(sheet, path))
    return written


def _side_by_side(sample: Sample, detections: Detections, errors: int) -> Image.Image:
    ground_truth = Detections(
        torch.from_numpy(sample.ground_truth.xyxy),
        torch.ones(len(sample.ground_truth)),
        torch.from_numpy(sample.ground_truth.class_id),
        detections.names,
        detections.width,
        detections.height,
    )
    left = _smaller(ground_truth.draw(sample.path, scores=False))
    right = _smaller(detections.draw(sample.path))
    font = ImageFont.load_default(size=16)
    head = 28
    width = max(2 * left.width + _GAP, 2 * 260)
    sheet = Image.new("RGB", (width, left.height + head), "white")
    middle = width - right.width
    sheet.paste(left, (0, head))
    sheet.paste(right, (middle, head))
    draw = ImageDraw.Draw(sheet)
    draw.text((4, 5), f"ground truths: {len(ground_truth)}", "black", font=font)
    text = f"detections: {len(detections)}; errors: {errors}"
    draw.text((middle + 4, 5), text, "black", font=font)
    return sheet


def _smaller(image: Image.Image) -> Image.Image:
    """Shrink an image so that two of them fit a screen."""
    scale = min(1.0, _SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if scale == 1 else image.resize(size, Image.Resampling.LANCZOS)


def _write(image: Image.Image, path: Path) -> Path:
    content = io.BytesIO()
    image.save(content, "PNG")
    write_atomically(path, content.getvalue())
    return path
