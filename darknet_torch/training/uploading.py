"""Batches on the device that computes; a graphics card gets the next one while it computes."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from darknet_torch.errors import DarknetError
from darknet_torch.images.upload import hand_over
from darknet_torch.training.collate import Batch

__all__ = ["Uploaded"]

ROWS = 16
"""On a card the rows of ground truth are a multiple of it: what is recorded of passes has a shape
for each number of rows."""


class Uploaded(Iterator[Batch]):
    """Batches on a device, with their images placed and their colours changed there.

    To a graphics card a batch is copied on a stream of its own: the card copies it, and makes the
    images of it, beside the forward and backward pass of the one before.

    Args:
        batches: on the CPU; for a graphics card best in pinned memory, see `Batch.pin_memory`.
        device: where the network is.
    """

    def __init__(self, batches: Iterator[Batch], device: torch.device) -> None:
        self._batches, self._device = batches, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._copied: tuple[Batch, torch.cuda.Event] | None = None
        self._error: DarknetError | None = None

    def __next__(self) -> Batch:
        """Return the next batch; what is launched from now on waits for its copy."""
        if self._stream is None:
            return next(self._batches).on(self._device)
        if self._error is not None:
            raise self._error
        batch, copied = self._copied or self._copy(self._stream)
        self._copied = None
        computing = torch.cuda.current_stream(self._device)
        hand_over((batch.images, *batch.truth.tensors()), copied, computing)
        return batch

    def prepare(self) -> None:
        """Launch the copy of the next batch, if there is one; to be called while a card computes.

        Until then nothing waits for the data: a card has work, and goes on with it meanwhile.
        An image that cannot be read is an error of the next batch, not of this one.
        """
        if self._stream is None or self._copied is not None or self._error is not None:
            return
        try:
            self._copied = self._copy(self._stream)
        except StopIteration:
            self._copied = None  # which the next call of `next` finds, too
        except DarknetError as error:
            self._error = error

    def _copy(self, stream: "torch.cuda.Stream") -> "tuple[Batch, torch.cuda.Event]":
        batch = next(self._batches)
        with torch.cuda.stream(stream):
            batch = batch.on(self._device)
            rows = max(1, -(-batch.truth.valid.shape[1] // ROWS)) * ROWS
            batch = replace(batch, truth=batch.truth.padded(rows))
            return batch, stream.record_event()
