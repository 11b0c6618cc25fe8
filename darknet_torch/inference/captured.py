"""Decoding on a graphics card, recorded once: one launch and one wait for the boxes of a batch.

What is recorded has fixed shapes: a place for so many boxes of each head, of which a batch uses
some. The boxes of a batch that has more are decoded without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from darknet_torch.heads.boxes import Candidates, join
from darknet_torch.inference.decoding import DecodingOptions, decode, passing_counts, select
from darknet_torch.inference.postprocess import nan_sums
from darknet_torch.network.cuda_graph import CudaGraph

__all__ = ["CapturedDecoding", "Decoding"]

PLACES = 32
"""Boxes of an image, of each head, at first."""
OFTEN = 3
"""Batches of a shape from which on it is recorded, which takes as long as some dozens of them."""
MOST_SHAPES = 8
"""Most shapes of outputs that are recorded."""
MOST_VALUES = 1 << 21
"""Numbers that come back from the card at most; decoding is not recorded where it is more."""


class CapturedDecoding:
    """Decodes raw outputs of given shapes.

    Args:
        options: a detector.
        outputs: raw, of a batch, on a card.
        places: boxes of each head for which there is a place.

    Raises:
        RuntimeError: it cannot be recorded.
    """

    def __init__(self, options: DecodingOptions, outputs: Sequence[Tensor], places: int) -> None:
        self.places, self.heads = places, len(outputs)
        self.widths = list[int]()

        def run(*raw: Tensor) -> tuple[Tensor, ...]:
            rows = [each.rows() for each in select(options, raw, [places] * len(raw))]
            self.widths = [each.shape[1] for each in rows]
            numbers = passing_counts(options, raw), nan_sums(raw)
            return (torch.cat([each.flatten().float() for each in (*numbers, *rows)]),)

        self.graph = CudaGraph(run, [each.clone() for each in outputs])
        (flat,) = self.graph.outputs
        self.host = torch.empty(flat.shape, pin_memory=flat.is_cuda)

    def __call__(self, outputs: Sequence[Tensor]) -> tuple[Candidates, Tensor] | None:
        """Return the candidates of a batch, and `nan_sums`, on the CPU.

        None: there are more boxes than places.

        Args:
            outputs: raw, of the batch.
        """
        (flat,) = self.graph(*outputs)
        self.host.copy_(flat, non_blocking=True)
        if flat.is_cuda:
            torch.cuda.current_stream(flat.device).synchronize()
        counts = self.host[: self.heads].long().tolist()
        if max(counts) > self.places:
            return None
        images = len(outputs[0])
        parts, start = list[Candidates](), self.heads + images
        for count, width in zip(counts, self.widths, strict=True):
            end = start + self.places * width
            rows = self.host[start:end].view(-1, width)[:count].clone()
            parts.append(Candidates.of_rows(rows))
            start = end
        return join(parts), self.host[self.heads : self.heads + images].clone()


@dataclass
class _Recording:
    """What is recorded for outputs of some shapes.

    Attributes:
        places: boxes of each head for which there is, or will be, a place.
        batches: that came.
        graph: None before it is recorded.
    """

    places: int
    batches: int = 0
    graph: CapturedDecoding | None = None


class Decoding:
    """The way from a network's outputs to the candidates of a batch, on the CPU.

    It keeps what is recorded, and not the detector, whose part it is: they would keep one another,
    and the network, after their use.
    """

    def __init__(self) -> None:
        self._recordings: dict[tuple[object, ...], _Recording] = {}
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle it without what is recorded."""
        return {}

    def __setstate__(self, _: dict[str, Any]) -> None:
        """Begin anew."""
        self.__init__()  # type: ignore[misc]

    def __call__(
        self, options: DecodingOptions, outputs: Sequence[Tensor]
    ) -> tuple[Candidates, Tensor]:
        """Return the candidates, and `nan_sums` of what is looked at for NaN.

        Args:
            options: the detector, always the same one.
            outputs: of its network, as its `contents` say.
        """
        recorded = self.replayed(options, outputs) if _can_be_recorded(options) else None
        if recorded is not None:
            return recorded
        looked_at = () if options.network.contents == "detections" else outputs
        return decode(options, outputs).cpu(nan_sums(looked_at))

    def replayed(
        self, options: DecodingOptions, outputs: Sequence[Tensor]
    ) -> tuple[Candidates, Tensor] | None:
        """Return what `CapturedDecoding` does; None where it is not recorded, or not this time.

        Args:
            options: the detector.
            outputs: raw, of a batch.
        """
        with self._lock:
            recording = self._recording(options, outputs)
            if recording is None or recording.graph is None:
                return None
            found = recording.graph(outputs)
            if found is None:  # next time there are more places
                recording.graph, recording.places = None, 4 * recording.places
        if found is None:
            return None
        candidates, sums = found
        return options.thresholds.applied(candidates), sums

    def _recording(self, options: DecodingOptions, outputs: Sequence[Tensor]) -> _Recording | None:
        """Return that of some shapes, made now if they have come often; None beyond the most."""
        key = (*(each.shape for each in outputs), options.thresholds.lowest)
        if key not in self._recordings:
            if len(self._recordings) >= MOST_SHAPES:
                return None
            self._recordings[key] = _Recording(PLACES * len(outputs[0]))
        recording = self._recordings[key]
        recording.batches += 1
        values = recording.places * len(outputs) * (options.class_count + 6)
        if recording.graph is None and recording.batches >= OFTEN and values <= MOST_VALUES:
            recording.graph = _recorded(options, outputs, recording.places)
            if recording.graph is None:  # nor another time
                recording.places = MOST_VALUES
        return recording


def _recorded(
    options: DecodingOptions, outputs: Sequence[Tensor], places: int
) -> CapturedDecoding | None:
    """Record the decoding of a batch; None where it waits for something, or yields other boxes."""
    try:
        graph = CapturedDecoding(options, outputs, places)
        found = graph(outputs)
    except RuntimeError:
        return None
    if found is None:  # no place for all
        return graph
    wanted, _ = decode(options, outputs).cpu(nan_sums(outputs))
    pairs = list(zip(options.thresholds.applied(found[0]), wanted, strict=True))
    same = all(a.shape == b.shape and torch.allclose(a, b, equal_nan=True) for a, b in pairs)
    return graph if same else None


def _can_be_recorded(options: DecodingOptions) -> bool:
    """Return whether it is worth a try: what walks down a word tree waits for the card."""
    network = options.network
    if network.device.type != "cuda" or network.contents != "raw":
        return False
    return all(head.tree is None for head in options.heads)
