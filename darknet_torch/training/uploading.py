"""Batches on the device that computes; a graphics card gets the next one while it computes."""

from collections.abc import Iterator

import torch

from darknet_torch.images.upload import hand_over
from darknet_torch.training.collate import Batch

__all__ = ["uploaded"]


def uploaded(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield batches on a device, with the changes of colour made there.

    To a graphics card the next batch is copied on a stream of its own, before this one is yielded:
    the card copies it, and changes its colours, beside the forward and backward pass.

    Args:
        batches: on the CPU; for a graphics card best in pinned memory, see `Batch.pin_memory`.
        device: where the network is.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch.on(device)
        return
    stream, before = torch.cuda.Stream(device), None
    for batch in batches:
        with torch.cuda.stream(stream):
            copy = batch.on(device), stream.record_event()
        if before is not None:
            yield _awaited(*before)
        before = copy
    if before is not None:
        yield _awaited(*before)


def _awaited(batch: Batch, copied: "torch.cuda.Event") -> Batch:
    """Let what is launched next wait for the copy of a batch."""
    computing = torch.cuda.current_stream(batch.images.device)
    hand_over((batch.images, *batch.truth.tensors()), copied, computing)
    return batch
