"""Images -> detections: read, resize, forward, decode, NMS, and back to pixels."""

from collections.abc import Sequence
from os import PathLike, fspath
from typing import Any

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.heads.base import Head
from darknet_torch.heads.boxes import Candidates, join
from darknet_torch.images.limits import pixel_limit
from darknet_torch.images.reading import ImageSource
from darknet_torch.images.resizing import letterboxing, stretching
from darknet_torch.inference.detections import Detections
from darknet_torch.inference.postprocess import (
    PostProcess,
    candidates_of_boxes,
    candidates_of_detections,
    warn_of_nan,
)
from darknet_torch.inference.prepared import Prepared, as_batch, prepare
from darknet_torch.inference.streaming import Errors, Outcomes, collect, stream
from darknet_torch.network import Runnable

__all__ = ["NMS_KINDS", "Detector", "detect"]

NMS_KINDS = ("default", "greedynms", "diounms", "objectness")


def detect(
    network: Runnable,
    images: Any,
    *,
    threshold: float | None = None,
    nms: float = 0.45,
    nms_kind: str | None = None,
    hier_threshold: float = 0.5,
    letterbox: bool | None = None,
    classes: Sequence[str | int] | None = None,
    max_det: int | None = None,
    agnostic: bool = False,
    use_map: bool | str | PathLike[str] = False,
    batch_size: int = 1,
    workers: int = 2,
    max_pixels: int | None = None,
    errors: Errors = "raise",
) -> Detections | list[Detections]:
    """Detect the objects in one image, or in several.

    Args:
        network: a Network, an optimized one, or a converted file.
        images: a path, file object, bytes, PIL image, numpy array (H, W, 3) uint8, or tensor
            (C, H, W) uint8 or 0..1 gives Detections. A list of those, a folder, a glob, or a
            tensor (B, C, H, W) gives a list of them.
        threshold: lowest score of a detection; None is the fork's (pjreddie 0.5, AlexeyAB 0.25).
        nms: IoU above which the weaker of two boxes is dropped; 0 keeps all.
        nms_kind: "default" (IoU, class by class), "greedynms", "diounms" or "objectness" (all
            classes of a box at once, `do_nms_obj`); None is the last head's.
        hier_threshold: where to stop on the way down a word tree.
        letterbox: keep the aspect ratio on a grey ground, or stretch; None is the fork's.
        classes: names or indices of the classes to detect; None detects all.
        max_det: most detections of an image, the best are kept; None keeps all.
        agnostic: boxes of different classes compete in NMS too.
        use_map: with a word tree, score the classes of the section's `map` file, or of another.
        batch_size: images in one forward pass.
        workers: threads that read images ahead; on a CPU, long lists are shared among them.
        max_pixels: most pixels of an image file; 0 sets no limit; None is the variable
            DARKNET_TORCH_MAX_PIXELS, or else 89 million (`PIL.Image.MAX_IMAGE_PIXELS`).
        errors: what is done about broken images among several: "raise" the error of the first, or
            "skip" them, with a warning each.

    Returns:
        Detections with boxes as xyxy in pixels of the image, the highest score first; a list of
        them for several images.

    Raises:
        ImageError: an image cannot be read, unless broken ones are skipped.
        UsageError: the network has no head, or an argument is out of its range.
    """
    detector = Detector(
        network,
        threshold=threshold,
        nms=nms,
        nms_kind=nms_kind,
        hier_threshold=hier_threshold,
        letterbox=letterbox,
        classes=classes,
        max_det=max_det,
        agnostic=agnostic,
        use_map=use_map,
        batch_size=batch_size,
        workers=workers,
        max_pixels=max_pixels,
    )
    return collect(detector.stream, images, errors)


class Detector:
    """A detecting network with its settings, for one image after the other.

    detector = Detector(load("yolov4-tiny"), threshold=0.4)
    for outcome in detector.stream(paths):
        print(outcome.source, outcome.result or outcome.error)

    Args:
        network: a Network, an optimized one, or a converted file.
        threshold: lowest score of a detection; None is the fork's (pjreddie 0.5, AlexeyAB 0.25).
        nms: IoU above which the weaker of two boxes is dropped; 0 keeps all.
        nms_kind: "default" (IoU, class by class), "greedynms", "diounms" or "objectness" (all
            classes of a box at once, `do_nms_obj`); None is the last head's.
        hier_threshold: where to stop on the way down a word tree.
        letterbox: keep the aspect ratio on a grey ground, or stretch; None is the fork's.
        classes: names or indices of the classes to detect; None detects all.
        max_det: most detections of an image, the best are kept; None keeps all.
        agnostic: boxes of different classes compete in NMS too.
        use_map: with a word tree, score the classes of the section's `map` file, or of another.
        batch_size: images in one forward pass.
        workers: threads that read images ahead; on a CPU, long lists are shared among them.
        max_pixels: most pixels of an image file, see `detect`.

    Raises:
        UsageError: the network has no head, or an argument is out of its range.
    """

    def __init__(
        self,
        network: Runnable,
        *,
        threshold: float | None = None,
        nms: float = 0.45,
        nms_kind: str | None = None,
        hier_threshold: float = 0.5,
        letterbox: bool | None = None,
        classes: Sequence[str | int] | None = None,
        max_det: int | None = None,
        agnostic: bool = False,
        use_map: bool | str | PathLike[str] = False,
        batch_size: int = 1,
        workers: int = 2,
        max_pixels: int | None = None,
    ) -> None:
        plan = network.plan
        if not plan.heads:
            raise UsageError("the network has no head that yields boxes; is it a classifier?")
        _check_fractions(nms=nms, hier_threshold=hier_threshold, threshold=threshold)
        _check_counts(max_det=max_det, batch_size=batch_size, workers=workers)
        if nms_kind not in (None, *NMS_KINDS):
            raise UsageError(f"nms_kind={nms_kind}: must be one of {', '.join(NMS_KINDS)}")
        self.network = network
        self.threshold = plan.context.dialect.threshold if threshold is None else threshold
        self.letterbox = network.letterbox if letterbox is None else letterbox
        self.hier_threshold, self.use_map = hier_threshold, bool(use_map)
        self.batch_size, self.workers = batch_size, workers
        self.max_pixels = pixel_limit(max_pixels)
        self.heads = _mapped(network, use_map)
        self.postprocessing = PostProcess(
            nms=0.0 if network.contents == "detections" else nms,
            nms_kind=nms_kind or plan.nms[0],
            beta=plan.nms[1],
            classes=self.class_count,
            names=self.names,
            class_filter=_class_ids(classes, self.names, self.class_count),
            agnostic=agnostic,
            max_det=max_det,
        )

    @property
    def class_map(self) -> tuple[int, ...] | None:
        """With `use_map`: index of the network's class for each class that is scored."""
        maps = (head.class_map for head in self.heads)
        return next(filter(None, maps), None) if self.use_map else None

    @property
    def class_count(self) -> int:
        """Number of classes that are scored."""
        return self.network.plan.classes if self.class_map is None else len(self.class_map)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes that are scored."""
        names, classes = self.network.names, self.class_map
        return names if classes is None or not names else _names_of(classes, names)

    @property
    def nms_kind(self) -> str:
        """The kind of NMS that is done."""
        return self.postprocessing.nms_kind

    @property
    def settings(self) -> str:
        """Text of all settings that the results depend on."""
        values = (self.threshold, self.letterbox, self.hier_threshold, self.class_map)
        return f"{values} {self.postprocessing}"

    def stream(self, sources: Any) -> Outcomes[Detections]:
        """Yield an outcome for every image, in order, read ahead; `sources` as in `detect`."""
        return stream(self, sources, self.batch_size, self.workers)

    def prepare(self, source: ImageSource) -> Prepared:
        """Read one image, for the size of the network's input."""
        fitting = letterboxing if self.letterbox else stretching
        return prepare(source, self.network, fitting, self.max_pixels)

    @torch.inference_mode()
    def forward(self, images: Sequence[Prepared]) -> tuple[Tensor, ...]:
        """Run a batch of prepared images: raw outputs (B, c, h, w), or a converted file's."""
        outputs = self.network(as_batch(images, self.network))
        return tuple(y.float() for y in (outputs if isinstance(outputs, tuple) else (outputs,)))

    @torch.inference_mode()
    def postprocess(
        self, outputs: Sequence[Tensor], images: Sequence[Prepared]
    ) -> list[Detections]:
        """Return the detections of each image from the network's outputs for a batch."""
        placements = [image.placement(self.letterbox) for image in images]
        paths = [image.path for image in images]
        found = self.postprocessing(self._candidates(outputs).cpu(), placements, paths)
        if self.network.contents != "detections":
            warn_of_nan(outputs, found)
        return found

    def _candidates(self, outputs: Sequence[Tensor]) -> Candidates:
        if self.network.contents == "boxes":
            boxes, scores = outputs
            return candidates_of_boxes(boxes, scores, self.threshold)
        if self.network.contents == "detections":
            (rows,) = outputs
            return candidates_of_detections(rows, self.class_count, self.threshold)
        return self._decoded(outputs)

    def _decoded(self, raw: Sequence[Tensor]) -> Candidates:
        """Decode the raw outputs of all heads."""
        shape = self.network.plan.input
        heads = list(zip(self.heads, raw, strict=True))
        return join(
            [
                head.select(
                    each,
                    (shape.h, shape.w),
                    self.threshold,
                    hier_threshold=self.hier_threshold,
                    use_map=self.use_map,
                    count=count,
                )
                for (head, each), count in zip(heads, _counts(heads, self.threshold), strict=True)
            ]
        )


def _counts(heads: Sequence[tuple[Head, Tensor]], threshold: float) -> Sequence[int | None]:
    """Return how many boxes of each head pass, where that saves to wait for each head alone."""
    if not heads[0][1].is_cuda:
        return [None] * len(heads)
    return torch.stack([head.passing(raw, threshold).sum() for head, raw in heads]).tolist()


def _names_of(classes: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of some classes; the index of a class without one."""
    return tuple(names[n] if n < len(names) else str(n) for n in classes)


def _mapped(network: Runnable, use_map: bool | str | PathLike[str]) -> tuple[Head, ...]:
    """Return the heads, with another class map if `use_map` names one."""
    heads = network.plan.head_layers
    if isinstance(use_map, bool):
        return heads
    folders = network.plan.context.folders
    return tuple(head.with_class_map(fspath(use_map), folders) for head in heads)


def _check_fractions(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not 0 <= value <= 1:
            raise UsageError(f"{name}={value}: must be from 0 to 1")


def _check_counts(**values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < 1:
            raise UsageError(f"{name}={value}: must be at least 1")


def _class_ids(
    classes: Sequence[str | int] | None, names: tuple[str, ...], count: int
) -> frozenset[int] | None:
    if classes is None:
        return None
    numbers = {name: number for number, name in enumerate(names)}
    ids = {numbers.get(each, each) if isinstance(each, str) else each for each in classes}
    unknown = [each for each in ids if not isinstance(each, int) or not 0 <= each < count]
    if unknown:
        known = f"; there are {', '.join(names[:10])} ..." if names else ""
        raise UsageError(f"classes: {unknown[0]!r} is no class of this network{known}")
    return frozenset(each for each in ids if isinstance(each, int))
