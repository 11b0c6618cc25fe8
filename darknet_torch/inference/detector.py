"""Pictures -> detections: read, resize, forward, decode, suppress, and back to pixels.

The steps are Darknet's: threshold, box correction to fractions of the picture, suppression there
(the distance of `diounms` depends on it), and only then pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import Any, NamedTuple

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.heads.base import Head
from darknet_torch.heads.boxes import Candidates, cxcywh_to_xyxy, join, xyxy_to_cxcywh
from darknet_torch.heads.detection import Detection
from darknet_torch.heads.nms import NmsKind, suppress
from darknet_torch.heads.region import Region
from darknet_torch.heads.yolo import AnchorHead
from darknet_torch.images import reading, resizing
from darknet_torch.images.resizing import Placement
from darknet_torch.inference.detections import Detections
from darknet_torch.inference.streaming import Outcomes, collect, path_of, stream
from darknet_torch.layers.base import Layer
from darknet_torch.network import Runnable
from darknet_torch.parsing.options import FileName

__all__ = ["Detector", "detect"]


def detect(network: Runnable, images: Any, **options: Any) -> Detections | list[Detections]:
    """Find the objects in one picture, or in several.

    images: a path, file object, bytes, PIL image, numpy array (H, W, 3) uint8, or tensor (C, H, W)
        uint8 or 0..1 gives Detections. A list of those, a folder, a glob, or a tensor
        (B, C, H, W) gives a list of them.
    options: those of `Detector`: threshold, nms, nms_kind, hier_threshold, letterbox, classes,
        max_det, agnostic, batch_size.
    Raises ImageError for a picture that cannot be read; `Detector.stream` goes on instead.
    """
    return collect(Detector(network, **options).stream, images)


@dataclass(frozen=True, kw_only=True)
class _Options:
    """How to look for objects; None stands for what the network's dialect does.

    threshold: lowest probability (pjreddie .5, AlexeyAB .25).
    nms: overlap above which the weaker of two boxes goes; 0 keeps all.
    nms_kind: "default" (IoU, class by class), "greedynms", "diounms" or "objectness" (all classes
        of a box at once, `do_nms_obj`); None is the last head's.
    hier_threshold: where to stop on the way down a word tree.
    letterbox: keep the picture's proportions on a grey ground, or stretch it.
    classes: names or numbers to look for; None looks for all.
    max_det: keep only so many of each picture, the best.
    agnostic: boxes of different classes suppress one another too.
    use_map: with a word tree, score the classes of the section's `map` file, or of another one.
    batch_size: pictures in one forward pass. workers: threads, see `sources.stream`.
    """

    threshold: float | None = None
    nms: float = 0.45
    nms_kind: NmsKind | str | None = None
    hier_threshold: float = 0.5
    letterbox: bool | None = None
    classes: Sequence[str | int] | None = None
    max_det: int | None = None
    agnostic: bool = False
    use_map: bool | str | PathLike[str] = False
    batch_size: int = 1
    workers: int = 2

    def __post_init__(self) -> None:
        for name in ("nms", "hier_threshold", "threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{name}={value}: must be from 0 to 1")
        for name in ("max_det", "batch_size", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name}={value}: must be at least 1")
        kinds = (None, "default", "greedynms", "diounms", "objectness")
        if self.nms_kind not in kinds:
            raise UsageError(f"nms_kind={self.nms_kind}: must be one of {', '.join(kinds[1:])}")


class Detector:
    """A network with its settings; see `detect` for pictures and `_Options` for options."""

    def __init__(self, network: Runnable, **options: Any) -> None:
        try:
            self.options = _Options(**options)
        except TypeError as error:
            raise UsageError(f"detect: {str(error).partition('() ')[2] or error}") from error
        self.network = network
        self.heads = [network.plan[index].layer for index in network.plan.heads]
        if not self.heads:
            raise UsageError("the network has no head that yields boxes; is it a classifier?")
        if not isinstance(chosen := self.options.use_map, bool):
            self.heads = [self._with_map(head, fspath(chosen)) for head in self.heads]
        self.wanted = _class_ids(self.options.classes, self.names, self.class_count)

    @property
    def class_map(self) -> tuple[int, ...] | None:
        """With `use_map`, the network's class of each class that is scored."""
        maps = (head.class_map for head in self.heads if isinstance(head, Head))
        return next(filter(None, maps), None) if self.options.use_map else None

    @property
    def class_count(self) -> int:
        """How many classes are scored."""
        most = max(head.classes for head in self.heads if isinstance(head, Head))
        return most if self.class_map is None else len(self.class_map)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes that are scored."""
        names, chosen = self.network.names, self.class_map
        return names if chosen is None or not names else tuple(names[n] for n in chosen)

    def _with_map(self, head: Layer, path: str) -> Layer:
        if not isinstance(head, Region) or head.tree is None:
            raise UsageError(f"use_map={path}: the network has no word tree to map classes of")
        folders = self.network.plan.context.folders
        return replace(head, map=FileName(path, "map", head.section, folders))

    @property
    def threshold(self) -> float:
        """Lowest probability of a detection."""
        chosen = self.options.threshold
        return self.network.plan.context.dialect.threshold if chosen is None else chosen

    @property
    def letterbox(self) -> bool:
        """Whether pictures keep their proportions; YOLOv1's heads want them stretched."""
        told = getattr(self.network, "letterbox", None)  # by a converted file
        for given in (self.options.letterbox, told):
            if given is not None:
                return bool(given)
        if any(isinstance(head, Detection) for head in self.heads):
            return False
        return self.network.plan.context.dialect.letterbox or self.network.plan.net.letter_box

    @property
    def nms_kind(self) -> tuple[str, float]:
        """Kind of suppression, and its beta."""
        last = self.heads[-1]
        kind, beta = last.nms() if isinstance(last, AnchorHead) else ("default", 0.6)
        return self.options.nms_kind or kind, beta

    def stream(self, sources: Iterable[Any]) -> Outcomes[Detections]:
        """Yield an outcome for every picture, in order; pictures ahead are read meanwhile."""
        return stream(self, sources, self.options.batch_size, self.options.workers)

    def prepare(self, source: Any) -> "_Prepared":
        """Read one picture and bring it to the size of the network's input."""
        shape = self.network.plan.input
        picture = reading.read(source, channels=shape.c)
        fit = resizing.letterbox if self.letterbox else resizing.resize
        placement = Placement(picture.shape[2], picture.shape[1], shape.w, shape.h, self.letterbox)
        return _Prepared(fit(picture, shape.w, shape.h), placement, path_of(source))

    @torch.inference_mode()
    def forward(self, pictures: Sequence["_Prepared"]) -> tuple[Tensor, ...]:
        """Run a batch of prepared pictures: the raw maps (B, c, h, w), or what a file yields."""
        parameter = next(self.network.parameters(), torch.empty(0))
        found = self.network(torch.stack([each.pixels for each in pictures]).to(parameter))
        return tuple(each.float() for each in (found if isinstance(found, tuple) else (found,)))

    @torch.inference_mode()
    def find(self, outputs: Sequence[Tensor], pictures: Sequence["_Prepared"]) -> list[Detections]:
        """Turn what the network yields into detections: decode, suppress, sort by picture."""
        contents = getattr(self.network, "contents", "raw")
        if contents == "boxes":
            found = self._above(*outputs)
        else:
            found = self._chosen(*outputs) if contents == "detections" else self._decoded(*outputs)
        pairs = self._survivors(found, pictures)
        return [self._detections(pairs, number, each) for number, each in enumerate(pictures)]

    def _decoded(self, *raw: Tensor) -> Candidates:
        """Decode the raw maps of all heads."""
        shape, options = self.network.plan.input, self.options
        return join(
            [
                head.select(
                    each,
                    (shape.h, shape.w),
                    self.threshold,
                    hier_threshold=options.hier_threshold,
                    use_map=bool(options.use_map),
                )
                for head, each in zip(self.heads, raw, strict=True)
                if isinstance(head, Head)
            ]
        )

    def _above(self, boxes: Tensor, scores: Tensor) -> Candidates:
        """Choose among a converted file's boxes (B, N, 4) xyxy and scores (B, N, C)."""
        scores = scores * (scores > self.threshold)
        picture, number = scores.amax(dim=2).nonzero(as_tuple=True)
        found = xyxy_to_cxcywh(boxes[picture, number])
        return Candidates(picture, found, torch.ones(len(picture)), scores[picture, number])

    def _chosen(self, rows: Tensor) -> Candidates:
        """Take a converted file's detections (K, 7) as they are, those above the threshold."""
        rows = rows[rows[:, 5] > self.threshold]
        scores = rows.new_zeros(len(rows), self.class_count)
        scores.scatter_(1, rows[:, 6:].long(), rows[:, 5:6])
        found = xyxy_to_cxcywh(rows[:, 1:5])
        return Candidates(rows[:, 0].long(), found, torch.ones(len(rows)), scores)

    def _survivors(self, found: Candidates, pictures: Sequence["_Prepared"]) -> "_Pairs":
        """Suppress in fractions of the picture; one pair for each box and class that is left."""
        affine = [picture.placement.affine() for picture in pictures]
        moves = torch.tensor(affine, dtype=torch.float32, device=found.boxes.device)
        sx, ox, sy, oy = moves[found.picture].unbind(dim=1)
        x, y, w, h = found.boxes.unbind(dim=1)
        boxes = cxcywh_to_xyxy(torch.stack((x * sx + ox, y * sy + oy, w * sx, h * sy), dim=1))
        scores = found.scores
        if self.wanted is not None:
            mask = torch.zeros(scores.shape[1], dtype=torch.bool, device=scores.device)
            mask[list(self.wanted)] = True
            scores = scores * mask
        scores = scores * (found.objectness != 0)[:, None]
        kind, beta = self.nms_kind
        if kind == "objectness" and self.options.nms:
            alive = suppress(boxes, found.objectness, found.picture, self.options.nms)
            scores = scores * alive[:, None]
        box, class_id = (scores > 0).nonzero(as_tuple=True)
        pairs = _Pairs(found.picture[box], boxes[box], scores[box, class_id], class_id)
        return pairs if kind == "objectness" else self._suppressed(pairs, kind, beta)

    def _suppressed(self, pairs: "_Pairs", kind: str, beta: float) -> "_Pairs":
        if not self.options.nms or getattr(self.network, "contents", "raw") == "detections":
            return pairs
        classes = self.class_count
        group = pairs.picture if self.options.agnostic else pairs.picture * classes + pairs.class_id
        kinds: dict[str, NmsKind] = {"greedynms": "greedynms", "diounms": "diounms"}
        alive = suppress(
            pairs.boxes, pairs.score, group, self.options.nms, kinds.get(kind, "default"), beta
        )
        kept = alive.nonzero()[:, 0]
        return _Pairs(*(each[kept] for each in pairs))

    def _detections(self, pairs: "_Pairs", number: int, picture: "_Prepared") -> Detections:
        mine = (pairs.picture == number).nonzero()[:, 0]
        order = pairs.score[mine].argsort(descending=True, stable=True)
        mine = mine[order[: self.options.max_det]]
        width, height = picture.placement.image_w, picture.placement.image_h
        size = torch.tensor((width, height, width, height), device=mine.device)
        return Detections(
            xyxy=(pairs.boxes[mine] * size).cpu(),
            score=pairs.score[mine].cpu(),
            class_id=pairs.class_id[mine].cpu(),
            names=self.names,
            width=width,
            height=height,
            path=picture.path,
        )


class _Prepared(NamedTuple):
    """A picture at the network's size, (C, H, W) in 0..1, and where it stands there."""

    pixels: Tensor
    placement: Placement
    path: str | None


class _Pairs(NamedTuple):
    """Boxes with one class each: (K,), (K, 4) corners in fractions of the picture, (K,), (K,)."""

    picture: Tensor
    boxes: Tensor
    score: Tensor
    class_id: Tensor


def _class_ids(
    classes: Sequence[str | int] | None, names: tuple[str, ...], count: int
) -> frozenset[int] | None:
    if classes is None:
        return None
    numbers = {name: number for number, name in enumerate(names)}
    wanted = {numbers.get(each, each) if isinstance(each, str) else each for each in classes}
    wrong = [each for each in wanted if not isinstance(each, int) or not 0 <= each < count]
    if wrong:
        known = f"; there are {', '.join(names[:10])} ..." if names else ""
        raise UsageError(f"classes: {wrong[0]!r} is no class of this network{known}")
    return frozenset(each for each in wanted if isinstance(each, int))
