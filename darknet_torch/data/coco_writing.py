"""COCO's annotations, written: one JSON file for all images; see `coco`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from darknet_torch.data.coco import LISTS
from darknet_torch.data.coco_classes import COCO_CATEGORY_IDS, are_coco
from darknet_torch.data.dataset import Dataset, Sample
from darknet_torch.files import write_atomically

__all__ = ["category_ids", "write_json"]


def category_ids(dataset: Dataset) -> tuple[int, ...]:
    """Return the category id of each class: the data set's, COCO's own for its 80, else from 1.

    A class without an id (-1) makes all of them count from 1.
    """
    ids = dataset.category_ids
    if ids is not None and len(set(ids)) == len(dataset.names) and min(ids, default=-1) >= 0:
        return ids
    return COCO_CATEGORY_IDS if are_coco(dataset.names) else tuple(range(1, len(dataset.names) + 1))


def write_json(path: Path, dataset: Dataset, files: Sequence[str]) -> None:
    """Write the annotations of the samples, whose images have the names `files`."""
    numbers = category_ids(dataset)
    own = len({sample.image_id for sample in dataset.samples}) == len(dataset)
    content: dict[str, list[Any]] = {key: [] for key in LISTS}
    for class_id, name in zip(numbers, dataset.names, strict=True):
        content["categories"].append({"id": class_id, "name": name, "supercategory": ""})
    for position, (sample, file) in enumerate(zip(dataset.samples, files, strict=True), start=1):
        image_id = sample.image_id if own else position
        size = {"width": sample.width, "height": sample.height}
        content["images"].append({"id": image_id, "file_name": file, **size})
        for row in _annotations(sample, numbers):
            known = {"id": len(content["annotations"]) + 1, "image_id": image_id}
            content["annotations"].append(known | row)
    write_atomically(path, json.dumps(content))


def _annotations(sample: Sample, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    objects = sample.ground_truth
    for index, (left, top, right, bottom) in enumerate(objects.xyxy.tolist()):
        row = {
            "category_id": numbers[int(objects.class_id[index])],
            "bbox": [left, top, right - left, bottom - top],
            "area": float(objects.area[index]),
            "iscrowd": int(objects.crowd[index]),
        }
        flags = {key: 1 for key in ("difficult", "truncated") if getattr(objects, key)[index]}
        yield row | flags
