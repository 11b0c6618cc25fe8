"""Decoding on a graphics card, recorded once: one launch and one wait for the boxes of a batch.

What is recorded has fixed shapes: a place for so many boxes of each head, of which a batch uses
some. The boxes of a batch that has more are decoded without it.
"""

from collections.abc import Sequence
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


class Decoding:
    """The way from a network's outputs to the candidates of a batch, on the CPU.

    It keeps what is recorded for the last shapes of outputs, and not the detector, whose part it
    is: they would keep one another, and the network, after their use.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._graph: CapturedDecoding | None = None
        self._places = 0
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
            options: the detector.
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
            self._record(options, outputs)
            if self._graph is None:
                return None
            found = self._graph(outputs)
            if found is None:  # next time there are more places
                self._graph, self._places = None, 4 * self._places
        if found is None:
            return None
        candidates, sums = found
        return options.thresholds.applied(candidates), sums

    def _record(self, options: DecodingOptions, outputs: Sequence[Tensor]) -> None:
        """Record it, if there is none for these shapes, and it can be."""
        key = (*(each.shape for each in outputs), options.thresholds.lowest, options.heads)
        if key != self._key:
            self._key, self._graph = key, None
            self._places = PLACES * len(outputs[0])
        values = self._places * len(outputs) * (options.class_count + 6)
        if self._graph is None and values <= MOST_VALUES:
            try:
                self._graph = CapturedDecoding(options, outputs, self._places)
            except RuntimeError:  # it waits for something: not recorded for these shapes
                self._places = MOST_VALUES


def _can_be_recorded(options: DecodingOptions) -> bool:
    """Return whether it is worth a try: what walks down a word tree waits for the card."""
    network = options.network
    if network.device.type != "cuda" or network.contents != "raw":
        return False
    return all(head.tree is None for head in options.heads)
