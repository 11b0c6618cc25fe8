"""The detector of a cluster's worker: columns in, columns out."""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from darknet_torch.errors import UsageError
from darknet_torch.images.decoders import DecoderName
from darknet_torch.inference.detections import Detections
from darknet_torch.inference.detector import Detector
from darknet_torch.inference.reader_processes import core_count
from darknet_torch.loading import load
from darknet_torch.network import Network, Runnable
from darknet_torch.speed.optimized import optimize

__all__ = ["RESULT_COLUMNS", "RayDetector"]

RESULT_COLUMNS = ("boxes", "scores", "class_ids", "classes", "width", "height", "error")
"""What is added to a batch: lists of floats (left, top, right, bottom of each box in turn, in
pixels), of floats, of ints and of names; the image's size in pixels, 0 where it cannot be read; and
the reason for that, "" for all others."""


MOST_THREADS = 8
"""Threads beyond which they get in one another's way."""
_loading = Lock()


class RayDetector:
    """A network that detects in batches of columns, as Ray Data, Spark and Dask hand them on.

    images = ray.data.read_binary_files("s3://bucket/photos", include_paths=True)
    found = images.map_batches(
        RayDetector, fn_constructor_args=("yolov4-tiny",), batch_size=64, num_gpus=1
    )
    frame.mapInPandas(lambda parts: map(RayDetector("yolov4-tiny"), parts), schema)  # Spark
    frame.map_partitions(RayDetector("yolov4-tiny"))                                 # Dask

    It is pickled as its arguments, and loads the network where it is first called. Of an image that
    cannot be read the column `error` has the reason, and the others are empty.

    Args:
        network: a name, a cfg or a converted file, as `load` takes it.
        weights: the weights file.
        column: of the images: addresses (str) or the contents of files (bytes).
        device: where the network computes; None is a graphics card if there is one.
        names: the file of class names.
        threshold: lowest score; None is the fork's.
        nms: IoU above which the weaker of two boxes is dropped.
        batch_size: images in one forward pass.
        workers: threads that read images ahead; None is 2 on a CPU, which they share, and for a
            graphics card one a core, up to 8.
        max_pixels: most pixels of an image, see `detect`.
        decoder: of JPEG files, see `detect`.
        compile: see `optimize`; compiling takes a minute or more in each process, which pays for
            itself only where that works for hours.
    """

    def __init__(
        self,
        network: str,
        weights: str | None = None,
        *,
        column: str = "bytes",
        device: str | None = None,
        names: str | None = None,
        threshold: float | None = None,
        nms: float = 0.45,
        batch_size: int = 8,
        workers: int | None = None,
        max_pixels: int | None = None,
        decoder: DecoderName = "pillow",
        compile: bool = False,  # noqa: A002
    ) -> None:
        self.network, self.weights, self.names, self.column = network, weights, names, column
        self.device, self.compile = device, compile
        self.options: dict[str, Any] = {
            "threshold": threshold,
            "nms": nms,
            "batch_size": batch_size,
            "workers": workers,
            "max_pixels": max_pixels,
            "decoder": decoder,
        }
        self._detector: Detector | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the arguments without the network."""
        return self.__dict__ | {"_detector": None}

    @property
    def detector(self) -> Detector:
        """The detector, whose network is loaded at its first use."""
        with _loading:  # several threads of Dask may call at once
            if self._detector is None:
                network = self._loaded()
                workers = self.options["workers"] or _threads(network)
                self._detector = Detector(network, **self.options | {"workers": workers})
            return self._detector

    def _loaded(self) -> Runnable:
        import torch

        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        network = load(self.network, self.weights, names=self.names, device=device)
        if isinstance(network, Network):
            return optimize(network, compile=self.compile)
        return network

    def __call__(self, batch: Any) -> Any:
        """Return a batch with the columns of RESULT_COLUMNS added.

        Args:
            batch: a mapping of columns of one length, or a pandas DataFrame.

        Returns:
            What was given: a dict of lists and arrays, or a DataFrame.

        Raises:
            UsageError: there is no column of images.
        """
        if self.column not in batch:
            known = ", ".join(map(str, batch))
            raise UsageError(f"batch: has no column {self.column}; there are {known}")
        found = self._columns(list(batch[self.column]))
        if isinstance(batch, Mapping):
            return {**batch, **found}
        return batch.assign(**found)

    def _columns(self, images: Sequence[Any]) -> dict[str, Any]:
        rows = list[tuple[Any, ...]]()
        for outcome in self.detector.stream([*map(_source, images)]):
            if outcome.result is None:
                rows.append(([], [], [], [], 0, 0, str(outcome.error)))
            else:
                rows.append(_row(outcome.result))
        columns = list(zip(*rows, strict=True)) if rows else [() for _ in RESULT_COLUMNS]
        return {name: _column(each) for name, each in zip(RESULT_COLUMNS, columns, strict=True)}


def _threads(network: Runnable) -> int:
    """Return how many threads read images for a network."""
    return 2 if network.device.type == "cpu" else min(core_count(), MOST_THREADS)


def _source(value: object) -> str | bytes:
    """Return an address, or the content of a file; none where the value is neither."""
    if isinstance(value, str):
        return value
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else b""


def _row(found: Detections) -> tuple[Any, ...]:
    classes = [found.name(each) for each in found.class_id.tolist()]
    lists = (found.xyxy.flatten().tolist(), found.score.tolist(), found.class_id.tolist())
    return (*lists, classes, found.width, found.height, "")


def _column(values: Sequence[Any]) -> Any:
    """Return an array of one dimension, of numbers, or of texts or lists of any lengths."""
    if values and isinstance(values[0], int):
        return np.array(values, np.int32)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
