"""Images -> detections: read, resize, forward, decode, NMS, and back to pixels."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.images.decoders import DecoderName, check_decoder, decoder_setting
from darknet_torch.images.limits import pixel_limit
from darknet_torch.images.reading import ImageSource
from darknet_torch.images.resizing import letterboxing, stretching
from darknet_torch.inference.captured import Decoding
from darknet_torch.inference.detections import Detections
from darknet_torch.inference.detector_options import (
    check_counts,
    check_fractions,
    class_ids,
    mapped_heads,
    names_of,
)
from darknet_torch.inference.postprocess import PostProcess, warn_of_nan
from darknet_torch.inference.prepared import Prepared, Reading, as_batch
from darknet_torch.inference.streaming import Errors, Outcomes, collect, stream
from darknet_torch.inference.thresholds import Thresholds
from darknet_torch.inference.tile_grid import check_tiles
from darknet_torch.inference.tiled import TiledDetector
from darknet_torch.network import Runnable
from darknet_torch.network.forked import before_computing
from darknet_torch.network.runnable import plan_of

__all__ = ["NMS_KINDS", "Detector", "detect"]

NMS_KINDS = ("default", "greedynms", "diounms", "objectness")


def detect(
    network: Runnable,
    images: Any,
    *,
    threshold: float | Mapping[str, float] | None = None,
    nms: float = 0.45,
    nms_kind: str | None = None,
    hier_threshold: float = 0.5,
    letterbox: bool | None = None,
    classes: Sequence[str | int] | None = None,
    max_det: int | None = None,
    agnostic: bool = False,
    use_map: bool | str | PathLike[str] = False,
    tiles: str | tuple[int, int] | None = None,
    overlap: float = 0.2,
    batch_size: int = 1,
    workers: int = 2,
    max_pixels: int | None = None,
    decoder: Literal["pillow", "torchcodec", "nvjpeg", "turbojpeg"] = "pillow",
    errors: Errors = "raise",
) -> Detections | list[Detections]:
    """Detect the objects in one image, or in several.

    Args:
        network: a Network, an optimized one, or a converted file.
        images: a path, file object, bytes, PIL image, numpy array (H, W, 3) uint8, or tensor
            (C, H, W) uint8 or 0..1 gives Detections. A list of those, a folder, a glob, or a
            tensor (B, C, H, W) gives a list of them.
        threshold: lowest score of a detection, of all classes, or by class name ("*" is all
            others); None is the fork's (pjreddie 0.5, AlexeyAB 0.25).
        nms: IoU above which the weaker of two boxes is dropped; 0 keeps all.
        nms_kind: "default" (IoU, class by class), "greedynms", "diounms" or "objectness" (all
            classes of a box at once, `do_nms_obj`); None is the last head's.
        hier_threshold: where to stop on the way down a word tree.
        letterbox: keep the aspect ratio on a grey ground, or stretch; None is the fork's.
        classes: names or indices of the classes to detect; None detects all.
        max_det: most detections of an image, the best are kept; None keeps all.
        agnostic: boxes of different classes compete in NMS too.
        use_map: with a word tree, score the classes of the section's `map` file, or of another.
        tiles: size of the tiles in which a large image is looked at: "800x600", (800, 600), or
            "auto", that of the network's input; None is the whole image at once.
        overlap: share of a tile that the next one has, too.
        batch_size: images, or tiles, in one forward pass.
        workers: threads that read images ahead; on a CPU, long lists are shared among them, and
            for other devices those of 200 files or more by a process a core, unless it is 1.
        max_pixels: most pixels of an image file; 0 sets no limit; None is the variable
            DARKNET_TORCH_MAX_PIXELS, or else 89 million (`PIL.Image.MAX_IMAGE_PIXELS`).
        decoder: of JPEG files; "pillow" is exact, the others are faster: "torchcodec" and
            "turbojpeg" on the CPU, "nvjpeg" on a graphics card; each needs its extra.
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
        tiles=tiles,
        overlap=overlap,
        batch_size=batch_size,
        workers=workers,
        max_pixels=max_pixels,
        decoder=decoder,
    )
    return collect(detector.stream, images, errors)


class Detector:
    """A detecting network with its settings, for one image after the other.

    detector = Detector(load("yolov4-tiny"), threshold=0.4)
    for outcome in detector.stream(paths):
        print(outcome.source, outcome.result or outcome.error)

    Args:
        network: a Network, an optimized one, or a converted file.
        threshold: lowest score of a detection, of all classes, or by class name ("*" is all
            others); None is the fork's (pjreddie 0.5, AlexeyAB 0.25).
        nms: IoU above which the weaker of two boxes is dropped; 0 keeps all.
        nms_kind: "default" (IoU, class by class), "greedynms", "diounms" or "objectness" (all
            classes of a box at once, `do_nms_obj`); None is the last head's.
        hier_threshold: where to stop on the way down a word tree.
        letterbox: keep the aspect ratio on a grey ground, or stretch; None is the fork's.
        classes: names or indices of the classes to detect; None detects all.
        max_det: most detections of an image, the best are kept; None keeps all.
        agnostic: boxes of different classes compete in NMS too.
        use_map: with a word tree, score the classes of the section's `map` file, or of another.
        tiles: size of the tiles in which a large image is looked at: "800x600", (800, 600), or
            "auto", that of the network's input; None is the whole image at once.
        overlap: share of a tile that the next one has, too.
        batch_size: images, or tiles, in one forward pass.
        workers: threads that read images ahead; on a CPU, long lists are shared among them, and
            for other devices those of 200 files or more by a process a core, unless it is 1.
        max_pixels: most pixels of an image file, see `detect`.
        decoder: of JPEG files, see `detect`.

    Raises:
        UsageError: the network has no head, or an argument is out of its range.
    """

    def __init__(
        self,
        network: Runnable,
        *,
        threshold: float | Mapping[str, float] | None = None,
        nms: float = 0.45,
        nms_kind: str | None = None,
        hier_threshold: float = 0.5,
        letterbox: bool | None = None,
        classes: Sequence[str | int] | None = None,
        max_det: int | None = None,
        agnostic: bool = False,
        use_map: bool | str | PathLike[str] = False,
        tiles: str | tuple[int, int] | None = None,
        overlap: float = 0.2,
        batch_size: int = 1,
        workers: int = 2,
        max_pixels: int | None = None,
        decoder: DecoderName = "pillow",
    ) -> None:
        plan = plan_of(network)
        before_computing()
        if not plan.heads:
            raise UsageError("the network has no head that yields boxes; is it a classifier?")
        check_fractions(nms=nms, hier_threshold=hier_threshold)
        check_counts(max_det=max_det, batch_size=batch_size, workers=workers)
        if nms_kind not in (None, *NMS_KINDS):
            raise UsageError(f"nms_kind={nms_kind}: must be one of {', '.join(NMS_KINDS)}")
        self.network, self.batch_size, self.workers = network, batch_size, workers
        self.letterbox = network.letterbox if letterbox is None else letterbox
        self.hier_threshold, self.use_map = hier_threshold, bool(use_map)
        self.max_pixels = pixel_limit(max_pixels)
        self.decoder = check_decoder(decoder, network.device)
        self.heads = mapped_heads(network, use_map)
        default = plan.context.dialect.threshold
        self.thresholds = Thresholds.of(threshold, default, self.names, self.class_count)
        self.postprocessing = PostProcess(
            nms=0.0 if network.contents == "detections" else nms,
            nms_kind=nms_kind or plan.nms[0],
            beta=plan.nms[1],
            classes=self.class_count,
            names=self.names,
            class_filter=class_ids(classes, self.names, self.class_count),
            agnostic=agnostic,
            max_det=max_det,
        )
        self.nms, self.overlap, self._decode = nms, overlap, Decoding()
        self.tile = check_tiles(tiles, overlap, (plan.input.w, plan.input.h))
        self.tiled = None if self.tile is None else TiledDetector(self, self.tile, overlap)

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
        return names if classes is None or not names else names_of(classes, names)

    @property
    def threshold(self) -> float:
        """The lowest threshold of all classes."""
        return self.thresholds.lowest

    @property
    def nms_kind(self) -> str:
        """The kind of NMS that is done."""
        return self.postprocessing.nms_kind

    @property
    def settings(self) -> str:
        """Text of all settings that the results depend on."""
        values = (self.thresholds, self.letterbox, self.hier_threshold, self.class_map)
        tiles = "" if self.tile is None else f" {self.tile} {self.overlap} {self.nms}"
        return f"{values} {self.postprocessing}{tiles}{decoder_setting(self.decoder)}"

    def stream(self, sources: Any) -> Outcomes[Detections]:
        """Yield an outcome for every image, in order, read ahead; `sources` as in `detect`."""
        if self.tiled is not None:
            return self.tiled.stream(sources)
        return stream(self, sources, self.batch_size, self.workers, self.reading)

    @property
    def reading(self) -> Reading:
        """How images are read for the network."""
        fitting = letterboxing if self.letterbox else stretching
        return Reading.of(self.network, fitting, self.max_pixels, self.decoder)

    def prepare(self, source: ImageSource) -> Prepared:
        """Read one image, for the size of the network's input."""
        return self.reading(source)

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
        raw = () if self.network.contents == "detections" else outputs
        candidates, sums = self._decode(self, outputs)
        found = self.postprocessing(candidates, placements, [image.path for image in images])
        warn_of_nan(raw, sums, found)
        return found
