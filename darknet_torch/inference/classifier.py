"""Pictures -> the classes that a classifier sees in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.images import reading, resizing
from darknet_torch.inference.streaming import Outcomes, collect, path_of, stream
from darknet_torch.layers.softmax import Softmax
from darknet_torch.network import Runnable

__all__ = ["Classification", "Classifier", "classify"]


@dataclass(frozen=True)
class Classification:
    """The most probable classes of one picture, the best first.

    class_id: (K,) int64; score: (K,) float32 probabilities; names: of all classes.
    """

    class_id: Tensor
    score: Tensor
    names: tuple[str, ...]
    path: str | None = None

    def __len__(self) -> int:
        return len(self.class_id)

    def __str__(self) -> str:
        return ", ".join(f"{name} {score:.2f}" for name, score in self.pairs())

    def name(self, class_id: int) -> str:
        """Return the name of a class; its number, if there are fewer names."""
        return self.names[class_id] if class_id < len(self.names) else str(class_id)

    def pairs(self) -> list[tuple[str, float]]:
        """Return (name, probability), the best first."""
        ids, scores = self.class_id.tolist(), self.score.tolist()
        return [(self.name(number), score) for number, score in zip(ids, scores, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values."""
        found = [
            {"class": name, "class_id": number, "score": float(f"{score:.7g}")}
            for (name, score), number in zip(self.pairs(), self.class_id.tolist(), strict=True)
        ]
        return {"path": self.path, "classes": found}


def classify(
    network: Runnable, images: Any, **options: Any
) -> Classification | list[Classification]:
    """Say what is in one picture, or in several: forms of `images` as in `detect`.

    options: top (how many classes, 5), letterbox (None: as the dialect's classifier prepares
    pictures), leaves (of a word tree, only classes without children), batch_size, workers.
    """
    return collect(Classifier(network, **options).stream, images)


class Classifier:
    """A classifying network with its settings.

    letterbox: True keeps the whole picture on a grey ground, as pjreddie's `classifier predict`
    does; False cuts out the centre after the shorter side has been fitted, as AlexeyAB's does.
    """

    def __init__(
        self,
        network: Runnable,
        *,
        top: int = 5,
        letterbox: bool | None = None,
        leaves: bool = True,
        batch_size: int = 1,
        workers: int = 2,
    ) -> None:
        if network.plan.heads:
            raise UsageError("the network yields boxes, it is a detector: use detect")
        if network.plan.input.is_vector:
            raise UsageError("the network reads vectors, not pictures")
        for name, value in (("top", top), ("batch_size", batch_size), ("workers", workers)):
            if value < 1:
                raise UsageError(f"{name}={value}: must be at least 1")
        self.network, self.top, self.leaves = network, top, leaves
        self.batch_size, self.workers = batch_size, workers
        dialect = network.plan.context.dialect
        self.letterbox = dialect.letterbox if letterbox is None else letterbox

    def stream(self, sources: Iterable[Any]) -> Outcomes[Classification]:
        """Yield an outcome for every picture, in order; pictures ahead are read meanwhile."""
        return stream(self, sources, self.batch_size, self.workers)

    def prepare(self, source: Any) -> "_Prepared":
        """Read one picture and bring it to the size of the network's input."""
        shape = self.network.plan.input
        picture = reading.read(source, channels=shape.c)
        if self.letterbox:
            pixels = resizing.letterbox(picture, shape.w, shape.h)
        else:
            pixels = resizing.center_crop(resizing.resize_min(picture, shape.w), shape.w, shape.h)
        return _Prepared(pixels, path_of(source))

    @torch.inference_mode()
    def forward(self, pictures: Sequence["_Prepared"]) -> tuple[Tensor]:
        """Run a batch of prepared pictures: ((B, classes),)."""
        parameter = next(self.network.parameters(), torch.empty(0))
        x = torch.stack([picture.pixels for picture in pictures])
        return (self.network(x.to(parameter.device, parameter.dtype)).flatten(1).float(),)

    @torch.inference_mode()
    def find(
        self, outputs: Sequence[Tensor], pictures: Sequence["_Prepared"]
    ) -> list[Classification]:
        """Turn what the network yields into the best classes of each picture."""
        scores = self._probabilities(outputs[0]).cpu()
        best, ids = scores.topk(min(self.top, scores.shape[1]), dim=1)
        return [
            Classification(ids[number], best[number], self.network.names, picture.path)
            for number, picture in enumerate(pictures)
        ]

    def _probabilities(self, output: Tensor) -> Tensor:
        """Multiply down the word tree, if the last softmax has one."""
        last = self.network.plan[self.network.plan.final].layer
        tree = last.words if isinstance(last, Softmax) else None
        if tree is None:
            return output
        absolute = tree.absolute(output)
        return absolute * (tree.child_group < 0).to(output.device) if self.leaves else absolute


class _Prepared(NamedTuple):
    """A picture at the network's size, (C, H, W) in 0..1."""

    pixels: Tensor
    path: str | None
