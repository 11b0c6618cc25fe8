"""What is in a data set, in numbers."""

from collections import Counter
from typing import Any

import numpy as np

from darknet_torch.data.dataset import Dataset

__all__ = ["statistics"]

_SMALL, _MEDIUM = 32**2, 96**2  # pixels, COCO's bounds


def statistics(dataset: Dataset) -> dict[str, Any]:
    """Pictures, boxes, classes, sizes and boxes a picture, as plain Python values.

    Sizes of boxes are those of COCO: small up to 32 x 32 pixels, medium up to 96 x 96, by `area`.
    """
    truths = [sample.truth for sample in dataset.samples]
    each = np.array([len(truth) for truth in truths], int)
    areas = np.concatenate([truth.area for truth in truths] or [np.zeros(0)])
    sides = Counter((sample.width, sample.height) for sample in dataset.samples)
    return {
        "source": dataset.source,
        "pictures": len(dataset),
        "without_boxes": int((each == 0).sum()),
        "boxes": int(each.sum()),
        "difficult": sum(int(truth.difficult.sum()) for truth in truths),
        "truncated": sum(int(truth.truncated.sum()) for truth in truths),
        "crowd": sum(int(truth.crowd.sum()) for truth in truths),
        "boxes_a_picture": _spread(each),
        "box_sizes": _sizes(areas),
        "picture_sizes": [[w, h, count] for (w, h), count in sides.most_common()],
        "classes": _classes(dataset),
        "problems": dataset.counts,
    }


def _spread(values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[str, float]:
    if not len(values):
        return {"least": 0, "median": 0, "mean": 0, "most": 0}
    median, mean = float(np.median(values)), float(values.mean())
    return {"least": int(values.min()), "median": median, "mean": mean, "most": int(values.max())}


def _sizes(areas: np.ndarray[tuple[int], np.dtype[np.float64]]) -> dict[str, int]:
    small, large = int((areas <= _SMALL).sum()), int((areas > _MEDIUM).sum())
    return {"small": small, "medium": len(areas) - small - large, "large": large}


def _classes(dataset: Dataset) -> list[dict[str, Any]]:
    boxes, pictures = Counter[int](), Counter[int]()
    for sample in dataset.samples:
        found = sample.truth.class_id.tolist()
        boxes.update(found)
        pictures.update({*found, *([] if sample.label is None else [sample.label])})
    return [
        {"class": name, "class_id": index, "boxes": boxes[index], "pictures": pictures[index]}
        for index, name in enumerate(dataset.names)
    ]
