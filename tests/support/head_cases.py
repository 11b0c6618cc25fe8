"""Recorded heads in training: what Darknet's programs computed in the first iteration."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from train_cases import GOLDEN, SHARED, Case

import darknet_torch as dt
from darknet_torch.layers.truth import Truth
from darknet_torch.network.node import Node
from darknet_torch.network.plan import Plan

RECORDED = SHARED / "cases"
KEPT = GOLDEN / "heads"


def truth_of(images: Sequence[Sequence[Sequence[float]]]) -> Truth:
    """Return the ground truth of images from rows x, y, w, h, class (x > 100000: no box)."""
    truth = Truth.empty(len(images), max(map(len, images), default=0))
    for image, rows in enumerate(images):
        for number, (*box, class_id) in enumerate(rows):
            truth.valid[image, number] = True
            truth.class_id[image, number] = int(class_id)
            truth.has_box[image, number] = box[0] <= 100_000
            truth.boxes[image, number] = torch.tensor(box) * float(box[0] <= 100_000)
    return truth


@dataclass(frozen=True)
class HeadCase(Case):
    """A recorded training, of which the heads in the first iteration are looked at."""

    @cached_property
    def plan(self) -> Plan:
        return dt.plan(self.folder / "net.cfg", dialect=self.about["fork"].lower())

    def steps(self) -> Iterator[tuple[str, Truth, int]]:
        """Yield the mini-batches before the first update: tag, ground truth, images seen."""
        size, whole = self.about["net"]["batch"], truth_of(self.about["truth_boxes"])
        tags = [tag for tag in ("it0", "it0_sub0", "it0_sub1") if f"{tag}/cost" in self.golden]
        for number, tag in enumerate(tags):
            seen = self.about["seen_start"] + (number + 1) * size
            yield tag, whole[number * size : (number + 1) * size], seen

    def heads(self) -> Iterator[tuple[str, Node]]:
        """Yield the layers that have recorded deltas: their name there, the node."""
        for name in self.about["heads"]:
            yield name, self.plan[int(name[1:])]

    def input_of(self, node: Node, key: str) -> Tensor:
        """Return the recorded input of a layer, with gradient."""
        shape = self.plan[node.index - 1].shape
        sizes = (shape.c,) if shape.is_vector else tuple(shape)
        return torch.from_numpy(self.golden[f"{key}/input"]).view(-1, *sizes).requires_grad_()


def head_case(name: str) -> HeadCase:
    """Return the case of that name, recorded or kept."""
    folder = RECORDED / name
    return HeadCase(folder if folder.is_dir() else KEPT / name)


def case_names(*, of_boxes: bool = True) -> list[str]:
    """Return the names of the cases at hand, those with boxes or the others."""
    folders = {path.parent.name: path for path in sorted(KEPT.glob("*/case.json"))}
    folders |= {path.parent.name: path for path in sorted(RECORDED.glob("*/case.json"))}
    return sorted(
        name
        for name, path in folders.items()
        if (json.loads(path.read_text())["truth_boxes"] is not None) == of_boxes
    )
