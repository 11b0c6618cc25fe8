"""The first batch as a picture: what the network sees, with the boxes that it is to find."""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from darknet_torch.files import write_atomically
from darknet_torch.heads.boxes import cxcywh_to_xyxy
from darknet_torch.images.drawing import class_color, draw_boxes
from darknet_torch.network import Network
from darknet_torch.training.batches import Batch

__all__ = ["draw_first_batch"]

MOST = 16
"""Images of the picture."""
SIDE = 416
"""Pixels of the longer side of each."""


def draw_first_batch(batch: Batch, network: Network, path: Path) -> None:
    """Draw up to 16 augmented images of a batch, side by side, as JPEG.

    Raises:
        UsageError: the file cannot be written.
    """
    tiles = [_tile(batch, number, network.names) for number in range(min(MOST, len(batch.images)))]
    columns = math.ceil(math.sqrt(len(tiles)))
    width, height = tiles[0].size
    size = (columns * width, math.ceil(len(tiles) / columns) * height)
    sheet = Image.new("RGB", size, (64, 64, 64))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * width, number // columns * height))
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=85)
    write_atomically(path, content.getvalue())


def _tile(batch: Batch, number: int, names: tuple[str, ...]) -> Image.Image:
    pixels = batch.images[number]
    if pixels.is_floating_point():
        pixels = (pixels * 255).round().clamp(0, 255).byte()
    pixels = pixels[:3] if len(pixels) >= 3 else pixels[:1].expand(3, -1, -1)
    image = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
    scale = SIDE / max(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)))
    truth = batch.truth
    shown = truth.valid[number] & truth.has_box[number]
    sides = truth.boxes.new_tensor([*image.size, *image.size])
    boxes = (cxcywh_to_xyxy(truth.boxes[number][shown]) * sides).tolist()
    ids = truth.class_id[number][shown].tolist()
    labels = [names[each] if each < len(names) else str(each) for each in ids]
    return draw_boxes(image, boxes, labels, [class_color(each) for each in ids])
