"""A network that is served: what is said of it, and the tasks that compute its images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import torch

from darknet_torch.errors import UsageError
from darknet_torch.images.decoders import DecoderName
from darknet_torch.inference.classifier import Classifier
from darknet_torch.inference.detector import NMS_KINDS, Detector
from darknet_torch.network import Runnable
from darknet_torch.network.state import state_shapes
from darknet_torch.network.summary import summarize
from darknet_torch.server.maps import network_inside

__all__ = ["ServedModel"]

MOST_TASKS = 64
"""Detectors of different settings that are kept."""


@dataclass(frozen=True)
class ServedModel:
    """A network with its name.

    Args:
        name: in addresses and answers.
        network: a Network, an optimized one, or a converted file.
        max_pixels: most pixels of an uploaded image.
        decoder: of JPEG files.

    Raises:
        UsageError: the name is not possible, or the network neither detects nor classifies images,
            or keeps a state from one to the next.
    """

    name: str
    network: Runnable
    max_pixels: int
    decoder: DecoderName = "pillow"

    def __post_init__(self) -> None:
        if not self.name.strip() or "/" in self.name:
            raise UsageError(f"{self.name!r}: the name of a model is not empty, and has no /")
        if state_shapes(self.network.plan):
            raise UsageError(
                f"{self.name}: its recurrent layers keep a state from one image to the next, which"
                " would mix the images of several clients"
            )
        self.detector() if self.detects else self.classifier()

    @property
    def detects(self) -> bool:
        """Whether it yields boxes."""
        return bool(self.network.plan.heads)

    def detector(self, **settings: Any) -> Detector:
        """Return its detector with the settings of a request, hashable ones; see `Detector`."""
        if not self.detects:
            raise UsageError(f"{self.name} is a classifier: POST to /classify")
        detector: Detector = self._make_task(**settings)
        return detector

    def classifier(self, **settings: Any) -> Classifier:
        """Return its classifier with the settings of a request; see `Classifier`."""
        if self.detects:
            raise UsageError(f"{self.name} is a detector: POST to /detect")
        classifier: Classifier = self._make_task(**settings)
        return classifier

    @cached_property
    def _make_task(self) -> Callable[..., Any]:
        """What makes a detector or classifier; the same one again for the same settings.

        The images of one detector are postprocessed together.
        """
        kind = Detector if self.detects else Classifier
        make = partial(kind, self.network, max_pixels=self.max_pixels, decoder=self.decoder)
        return lru_cache(MOST_TASKS)(make)

    def warm_up(self) -> None:
        """Compute a black image: where the network is compiled, that is done at its first call."""
        shape, task = self.network.plan.input, self._make_task()
        task.forward([task.prepare(torch.zeros(*shape, dtype=torch.uint8))])

    def description(self) -> dict[str, Any]:
        """Return what a client needs to know, as plain values."""
        plan = self.network.plan
        content: dict[str, Any] = {
            "name": self.name,
            "kind": "detector" if self.detects else "classifier",
            "input": {"channels": plan.input.c, "height": plan.input.h, "width": plan.input.w},
            "classes": list(self.network.names),
            "layers": len(plan),
            "maps": network_inside(self.network) is not None,
        }
        if self.detects:
            detector = self.detector()
            content["threshold"], content["nms"] = detector.threshold, 0.45
            content["nms_kind"], content["nms_kinds"] = detector.nms_kind, list(NMS_KINDS)
            content["letterbox"] = detector.letterbox
        return content

    def layers(self) -> dict[str, Any]:
        """Return the table of its layers, see `Summary`."""
        return summarize(self.network.plan).to_dict()
