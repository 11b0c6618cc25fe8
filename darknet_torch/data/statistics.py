"""Counts of a data set: images, boxes, classes and sizes."""

from collections import Counter
from typing import Any

import numpy as np

from darknet_torch.data.dataset import Array, Dataset

__all__ = ["statistics"]

_SMALL, _MEDIUM = 32**2, 96**2  # pixels, COCO's bounds


def statistics(dataset: Dataset) -> dict[str, Any]:
    """Count images, boxes, classes, sizes and boxes of an image; return plain Python values.

    A box is small up to an area of 32 x 32 pixels and medium up to 96 x 96, as COCO has it.
    """
    parts = [sample.ground_truth for sample in dataset.samples]
    boxes = np.array([len(part) for part in parts], int)
    areas = np.concatenate([part.area for part in parts] or [np.zeros(0)])
    image_sizes = Counter((sample.width, sample.height) for sample in dataset.samples)
    return {
        "source": dataset.source,
        "pictures": len(dataset),
        "without_boxes": int((boxes == 0).sum()),
        "boxes": int(boxes.sum()),
        "difficult": sum(int(part.difficult.sum()) for part in parts),
        "truncated": sum(int(part.truncated.sum()) for part in parts),
        "crowd": sum(int(part.crowd.sum()) for part in parts),
        "boxes_a_picture": _spread(boxes),
        "box_sizes": _sizes(areas),
        "picture_sizes": [[w, h, count] for (w, h), count in image_sizes.most_common()],
        "classes": _classes(dataset),
        "problems": dataset.counts,
    }


def _spread(values: Array) -> dict[str, float]:
    if not len(values):
        return {"least": 0, "median": 0, "mean": 0, "most": 0}
    median, mean = float(np.median(values)), float(values.mean())
    return {"least": int(values.min()), "median": median, "mean": mean, "most": int(values.max())}


def _sizes(areas: Array) -> dict[str, int]:
    small, large = int((areas <= _SMALL).sum()), int((areas > _MEDIUM).sum())
    return {"small": small, "medium": len(areas) - small - large, "large": large}


def _classes(dataset: Dataset) -> list[dict[str, Any]]:
    boxes, images = Counter[int](), Counter[int]()
    for sample in dataset.samples:
        class_ids = sample.ground_truth.class_id.tolist()
        boxes.update(class_ids)
        images.update({*class_ids, *([] if sample.label is None else [sample.label])})
    return [
        {"class": name, "class_id": index, "boxes": boxes[index], "pictures": images[index]}
        for index, name in enumerate(dataset.names)
    ]
