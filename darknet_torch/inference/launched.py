"""Outputs that a graphics card may still be computing, and work on them beside what comes later."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

from darknet_torch.errors import DarknetError
from darknet_torch.images.upload import hand_over
from darknet_torch.inference.prepared import Prepared, decoded

__all__ = ["Launched", "decode_beside"]

T = TypeVar("T")


class Launched:
    """The outputs of a batch, which a graphics card may still be computing.

    A card does what it is given in order. The boxes of a batch would wait for the forward pass of
    the next one, which has been launched before, so they are decoded on a stream of their own.

    Args:
        outputs: of a batch, just launched; they may be none.
    """

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self._outputs = outputs
        device = outputs[0].device if outputs else torch.device("cpu")
        self._computed: torch.cuda.Event | None = None
        if device.type == "cuda":
            self._computed = torch.cuda.current_stream(device).record_event()

    @contextmanager
    def outputs(self) -> Iterator[Sequence[Tensor]]:
        """Yield the outputs; what is launched meanwhile waits for them, and for nothing later."""
        if self._computed is None:
            yield self._outputs
            return
        stream = _decoding(self._outputs[0].device)
        hand_over(self._outputs, self._computed, stream)
        with torch.cuda.stream(stream):
            yield self._outputs


def decode_beside(images: Sequence[T], device: torch.device) -> list[T | DarknetError]:
    """Decode the images that are still JPEGs, see `decoded`, beside the batches that are computed.

    On the stream of those batches the decoder would wait for them. What the calling thread's stream
    is given next, from whatever thread, waits for the images.
    """
    if device.type != "cuda":
        return decoded(images, device)
    stream = _jpegs(device)
    with torch.cuda.stream(stream):
        result = decoded(images, device)
    made = [each.image for each in result if isinstance(each, Prepared) and each.image.is_cuda]
    hand_over(made, stream.record_event(), torch.cuda.current_stream(device))
    return result


@lru_cache(maxsize=64)
def _jpegs(device: torch.device) -> "torch.cuda.Stream":
    return torch.cuda.Stream(device)


@lru_cache(maxsize=64)
def _decoding(device: torch.device) -> "torch.cuda.Stream":
    return torch.cuda.Stream(device)
