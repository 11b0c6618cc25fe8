"""Images -> the most probable classes of each, by a classifying network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.images.decoders import DecoderName, check_decoder, decoder_setting
from darknet_torch.images.limits import pixel_limit
from darknet_torch.images.reading import ImageSource
from darknet_torch.images.resizing import cropping, letterboxing
from darknet_torch.inference.prepared import Prepared, Reading, as_batch
from darknet_torch.inference.streaming import Errors, Outcomes, collect, stream
from darknet_torch.network import Runnable
from darknet_torch.network.forked import before_computing
from darknet_torch.network.runnable import plan_of
from darknet_torch.safety.text import printable

__all__ = ["Classification", "Classifier", "classify"]


@dataclass(frozen=True)
class Classification:
    """The most probable classes of one image, the best first.

    Args:
        class_id: (K,) int64, class indices.
        score: (K,) float32, their probabilities.
        names: of all classes.
        path: the image's file, if it is one.
    """

    class_id: Tensor
    score: Tensor
    names: tuple[str, ...]
    path: str | None = None

    def __len__(self) -> int:
        return len(self.class_id)

    def __str__(self) -> str:
        return ", ".join(f"{printable(name)} {score:.2f}" for name, score in self.pairs())

    def name(self, class_id: int) -> str:
        """Return the name of a class; its index as text, if there are fewer names."""
        return self.names[class_id] if class_id < len(self.names) else str(class_id)

    def pairs(self) -> list[tuple[str, float]]:
        """Return (name, probability), the best first."""
        ids, scores = self.class_id.tolist(), self.score.tolist()
        return [(self.name(number), score) for number, score in zip(ids, scores, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values."""
        classes = [
            {"class": name, "class_id": number, "score": float(f"{score:.7g}")}
            for (name, score), number in zip(self.pairs(), self.class_id.tolist(), strict=True)
        ]
        return {"path": self.path, "classes": classes}


def classify(
    network: Runnable,
    images: Any,
    *,
    top: int = 5,
    letterbox: bool | None = None,
    leaves: bool = True,
    batch_size: int = 1,
    workers: int = 2,
    max_pixels: int | None = None,
    decoder: Literal["pillow", "torchcodec", "nvjpeg", "turbojpeg"] = "pillow",
    errors: Errors = "raise",
) -> Classification | list[Classification]:
    """Classify one image, or several.

    Args:
        network: a Network, an optimized one, or a converted file.
        images: what `detect` takes: one image, or several.
        top: how many classes to return.
        letterbox: keep the whole image on a grey ground, as pjreddie's `classifier predict` does,
            or cut out the centre after the shorter side has been fitted, as AlexeyAB's does; None
            is the fork's.
        leaves: of a word tree, only the classes without children.
        batch_size: images in one forward pass.
        workers: threads that read images ahead; on a CPU, long lists are shared among them, and
            for other devices those of 200 files or more by a process a core, unless it is 1.
        max_pixels: most pixels of an image file; 0 sets no limit; None is the variable
            DARKNET_TORCH_MAX_PIXELS, or else 89 million (`PIL.Image.MAX_IMAGE_PIXELS`).
        decoder: of JPEG files; "pillow" is exact, the others are faster: "torchcodec" and
            "turbojpeg" on the CPU, "nvjpeg" on a graphics card; each needs its extra.
        errors: what is done about broken images among several: "raise" the error of the first, or
            "skip" them, with a warning each.

    Returns:
        The best classes of the image, or a list for several images.

    Raises:
        ImageError: an image cannot be read, unless broken ones are skipped.
        UsageError: the network is no classifier of images, or an argument is out of its range.
    """
    classifier = Classifier(
        network,
        top=top,
        letterbox=letterbox,
        leaves=leaves,
        batch_size=batch_size,
        workers=workers,
        max_pixels=max_pixels,
        decoder=decoder,
    )
    return collect(classifier.stream, images, errors)


class Classifier:
    """A classifying network with its settings, for one image after the other.

    Args:
        network: a Network, an optimized one, or a converted file.
        top: how many classes to return.
        letterbox: keep the whole image on a grey ground, as pjreddie's `classifier predict` does,
            or cut out the centre after the shorter side has been fitted, as AlexeyAB's does; None
            is the fork's.
        leaves: of a word tree, only the classes without children.
        batch_size: images in one forward pass.
        workers: threads that read images ahead; on a CPU, long lists are shared among them, and
            for other devices those of 200 files or more by a process a core, unless it is 1.
        max_pixels: most pixels of an image file, see `classify`.
        decoder: of JPEG files, see `classify`.

    Raises:
        UsageError: the network is no classifier of images, or an argument is out of its range.
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
        max_pixels: int | None = None,
        decoder: DecoderName = "pillow",
    ) -> None:
        before_computing()
        if plan_of(network).heads:
            raise UsageError("the network yields boxes, it is a detector: use detect")
        if network.plan.input.is_vector:
            raise UsageError("the network reads vectors, not images")
        for name, value in (("top", top), ("batch_size", batch_size), ("workers", workers)):
            if value < 1:
                raise UsageError(f"{name}={value}: must be at least 1")
        self.network, self.top, self.leaves = network, top, leaves
        self.batch_size, self.workers = batch_size, workers
        self.max_pixels = pixel_limit(max_pixels)
        self.decoder = check_decoder(decoder, network.device)
        dialect = network.plan.context.dialect
        self.letterbox = dialect.letterbox if letterbox is None else letterbox

    @property
    def settings(self) -> str:
        """Text of all settings that the results depend on."""
        values = {"top": self.top, "leaves": self.leaves, "letterbox": self.letterbox}
        return f"{values}{decoder_setting(self.decoder)}"

    def stream(self, sources: Any) -> Outcomes[Classification]:
        """Yield an outcome for every image, in order, read ahead; `sources` as in `classify`."""
        return stream(self, sources, self.batch_size, self.workers, self.reading)

    @property
    def reading(self) -> Reading:
        """How images are read for the network."""
        fitting = letterboxing if self.letterbox else cropping
        return Reading.of(self.network, fitting, self.max_pixels, self.decoder)

    def prepare(self, source: ImageSource) -> Prepared:
        """Read one image, for the size of the network's input."""
        return self.reading(source)

    @torch.inference_mode()
    def forward(self, images: Sequence[Prepared]) -> tuple[Tensor]:
        """Run a batch of prepared images: ((B, classes),)."""
        output = self.network(as_batch(images, self.network))
        return (output.flatten(1).float(),)

    @torch.inference_mode()
    def postprocess(
        self, outputs: Sequence[Tensor], images: Sequence[Prepared]
    ) -> list[Classification]:
        """Return the most probable classes of each image from the network's outputs for a batch."""
        scores = self._probabilities(outputs[0]).cpu()
        best, ids = scores.topk(min(self.top, scores.shape[1]), dim=1)
        return [
            Classification(ids[number], best[number], self.network.names, image.path)
            for number, image in enumerate(images)
        ]

    def _probabilities(self, output: Tensor) -> Tensor:
        """Return absolute probabilities, where the classes are nodes of a word tree."""
        tree = self.network.plan[self.network.plan.final].layer.word_tree
        if tree is None:
            return output
        absolute = tree.absolute(output)
        return absolute * (tree.child_group < 0).to(output.device) if self.leaves else absolute
