"""Recorded trainings of Darknet's own programs: cases, their networks and ground truth."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import darknet_torch as dt
from darknet_torch.layers.truth import Truth
from darknet_torch.network.node import Node
from darknet_torch.training.batch_norm import Kernels, kernels_of

__all__ = ["CASES", "GOLDEN", "SHARED", "Case"]

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden" / "train"
SHARED = TESTS.parents[1] / "shared" / "oracle" / "train"
CLASS_ONLY = 100000.0
"""Coordinates above it say that an image has a class and no box."""


@dataclass(frozen=True)
class Case:
    """One recorded training of four batches."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def about(self) -> dict[str, Any]:
        return json.loads((self.folder / "case.json").read_text())

    @cached_property
    def golden(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "golden.npz") as file:
            return dict(file)

    @property
    def flags(self) -> set[str]:
        return set(self.about["flags"].split(","))

    @property
    def subdivisions(self) -> int:
        return self.about["net"]["subdivisions"]

    def network(self) -> dt.Network:
        """The network in float64: the recordings are compared with exact numbers."""
        dialect = self.about["fork"].lower()
        weights = self.folder.parents[1] / self.about["weights"]
        return dt.load(self.folder / "net.cfg", weights, dialect=dialect).double()

    def kernels(self, network: dt.Network) -> Kernels:
        kernels = kernels_of(network.plan.context.dialect, cpu_defects="cpu" in self.flags)
        return Kernels() if "bneps" in self.flags else kernels

    def images(self) -> Tensor:
        with np.load(self.folder.parents[1] / "images_u8.npz") as file:
            pixels = file["images"][self.golden["image_index"]]
        return torch.from_numpy(pixels.astype(np.float32) / np.float32(255)).double()

    def truth(self) -> Truth:
        if self.about["truth_boxes"] is None:
            values = torch.from_numpy(self.golden["truth"])
            empty = Truth.empty(len(values))
            return Truth(empty.boxes, empty.class_id, empty.valid, empty.has_box, values)
        rows = self.about["truth_boxes"]
        truth = Truth.empty(len(rows), max(1, *(len(each) for each in rows)))
        for image, boxes in enumerate(rows):
            for n, (*box, class_id) in enumerate(boxes):
                truth.boxes[image, n] = torch.tensor(box)
                truth.class_id[image, n] = int(class_id)
                truth.valid[image, n] = True
                truth.has_box[image, n] = box[0] < CLASS_ONLY
        return truth

    def recorded(self, stage: str, node: Node) -> dict[str, Tensor]:
        """What is recorded of a layer's tensors, by kind, such as `after1` -> weights, biases."""
        start = f"{stage}/L{node.index:02}/"
        return {
            key.removeprefix(start): torch.from_numpy(value).double()
            for key, value in self.golden.items()
            if key.startswith(start)
        }


def _cases() -> dict[str, Case]:
    folders = [*GOLDEN.glob("cases/*"), *SHARED.glob("cases/*")]
    return {folder.name: Case(folder) for folder in sorted(folders, reverse=True)}


CASES = _cases()
"""All that are here; those of tests/golden are always."""
