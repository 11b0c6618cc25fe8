"""What detection, classification and evaluation ask of a network: the protocol `Runnable`."""

from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.network.plan import Plan

__all__ = ["Contents", "Runnable", "plan_of"]

Contents = Literal["raw", "boxes", "detections"]
"""What a network or a converted file returns.

raw: the maps before the heads, a tuple of (B, c, h, w), or the last layer's output (B, ...);
boxes: (B, N, 4) xyxy in fractions of the input, and scores (B, N, classes);
detections: (K, 7), after NMS: index of the image in the batch, box, score, class index.
"""


class Runnable(Protocol):
    """What computes the outputs of images: a Network, an optimized one, or a converted file."""

    @property
    def plan(self) -> Plan:
        """Its layers and shapes."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its classes; () where they are not known."""

    @property
    def device(self) -> torch.device:
        """Where it computes; its input must be there."""

    @property
    def dtype(self) -> torch.dtype:
        """The type that it computes in."""

    @property
    def input_dtype(self) -> torch.dtype:
        """The type of the images that it takes."""

    @property
    def contents(self) -> Contents:
        """What it returns: see `Contents`."""

    @property
    def letterbox(self) -> bool:
        """Whether a detector's images keep their aspect ratio unless the caller decides."""

    @property
    def concurrent(self) -> bool:
        """Whether several threads may call it at once, and gain."""

    def __call__(self, x: Tensor, /) -> Any:
        """Run a batch (B, C, H, W) in 0..1, or (B, inputs)."""


def plan_of(given: object) -> Plan:
    """Return a network's plan; UsageError for what is none, such as its path, or a wrapper."""
    plan = getattr(given, "plan", None)
    if isinstance(plan, Plan):
        return plan
    inner = getattr(given, "module", None)
    hint = "; its .module is one" if isinstance(getattr(inner, "plan", None), Plan) else ""
    raise UsageError(f"a network expected, as load() returns it, not {type(given).__name__}{hint}")
