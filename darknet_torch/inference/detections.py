"""Detections: the objects of one image, checked when made, indexed like an array.

detections = detect(model, "dog.jpg")       # Detections(3): dog 0.84, truck 0.78, bicycle 0.60
sure = detections[detections.score > 0.7]   # Detections(2): dog 0.84, truck 0.78
sure.draw("dog.jpg").save("out.jpg")
"""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image

from darknet_torch.errors import UsageError
from darknet_torch.images.drawing import FontFile, class_color, crop_boxes, draw_boxes, open_image
from darknet_torch.images.limits import pixel_limit
from darknet_torch.images.reading import ImageSource
from darknet_torch.inference import detection_formats
from darknet_torch.inference.detection_formats import Detection
from darknet_torch.inference.notebook import NotebookDisplay
from darknet_torch.inference.sources import fetched
from darknet_torch.safety.text import printable, to_json

__all__ = ["Detection", "Detections", "open_picture", "unchecked"]


_SHOWN = 10


@dataclass(frozen=True, repr=False, eq=False)
class Detections(NotebookDisplay):
    """The detected objects of one image.

    Args:
        xyxy: (N, 4) float32, left, top, right, bottom in pixels; may reach beyond the image.
        score: (N,) float32.
        class_id: (N,) int64, an index into `names`.
        names: of all classes.
        width: of the image, in pixels.
        height: of the image, in pixels.
        path: the image's file, if it is one.

    Raises:
        UsageError: the shapes do not fit one another, or a number is not finite.
    """

    xyxy: torch.Tensor
    score: torch.Tensor
    class_id: torch.Tensor
    names: tuple[str, ...]
    width: int
    height: int
    path: str | None = None

    def __post_init__(self) -> None:
        if self.class_id.is_floating_point():
            raise UsageError(f"class_id: must be integers, not {self.class_id.dtype}")
        object.__setattr__(self, "xyxy", self.xyxy.float())
        object.__setattr__(self, "score", self.score.float())
        object.__setattr__(self, "class_id", self.class_id.long())
        object.__setattr__(self, "names", tuple(self.names))
        _check(self)

    @classmethod
    def empty(
        cls, names: Iterable[str], width: int, height: int, path: str | None = None
    ) -> "Detections":
        """Return the detections of an image without any."""
        none = torch.zeros(0)
        return cls(none.reshape(0, 4), none, none.long(), tuple(names), width, height, path)

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, index: Any) -> "Detections":
        """Select by a mask, a tensor or list of indices, a slice or one index."""
        if not isinstance(index, slice):
            index = torch.as_tensor(index, device=self.score.device)
            index = index[None] if index.ndim == 0 else index
            index = index if index.numel() else index.long()  # torch makes floats of []
        xyxy, score, class_id = self.xyxy[index], self.score[index], self.class_id[index]
        return replace(self, xyxy=xyxy, score=score, class_id=class_id)

    def __iter__(self) -> Iterator[Detection]:
        columns = self.xyxy.tolist(), self.score.tolist(), self.class_id.tolist()
        for (left, top, right, bottom), score, class_id in zip(*columns, strict=True):
            yield Detection((left, top, right, bottom), score, class_id, self.name(class_id))

    def __repr__(self) -> str:
        shown = ", ".join(f"{printable(d.name)} {d.score:.2f}" for d in self[:_SHOWN])
        more = ", ..." if len(self) > _SHOWN else ""
        return f"Detections({len(self)})" + (f": {shown}{more}" if shown else "")

    def name(self, class_id: int) -> str:
        """Return the name of a class; its index as text, if there are fewer names."""
        return self.names[class_id] if 0 <= class_id < len(self.names) else str(class_id)

    def filter(
        self,
        classes: str | int | Iterable[str | int] | None = None,
        threshold: float | None = None,
    ) -> "Detections":
        """Return the detections of some classes, and above a threshold.

        Args:
            classes: names or class indices; None keeps all.
            threshold: only higher scores are kept; None keeps all.

        Raises:
            UsageError: there is no class of such a name.
        """
        keep = self.score > (float("-inf") if threshold is None else threshold)
        return self[keep if classes is None else keep & _are_of(self, classes)]

    def sort(self) -> "Detections":
        """Return them by falling score; equal scores keep their order."""
        return self[self.score.argsort(descending=True, stable=True)]

    def clip(self) -> "Detections":
        """Return them with boxes cut off at the edges of the image."""
        edges = self.xyxy.new_tensor((self.width, self.height) * 2)
        return replace(self, xyxy=self.xyxy.clamp(min=0).minimum(edges))

    def table(self) -> str:
        """Return one line for each object: class, score, corners in whole pixels."""
        return detection_formats.to_table(list(self))

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values; boxes as xyxy in pixels."""
        image = {"path": self.path, "width": self.width, "height": self.height}
        return {**image, "detections": detection_formats.to_dicts(self)}

    def to_json(self) -> str:
        """Return `to_dict` as JSON, on one line."""
        return to_json(self.to_dict())

    def to_coco(
        self, image_id: int, category_ids: Sequence[int] | Mapping[int, int] | None = None
    ) -> list[dict[str, Any]]:
        """Return rows of COCO's result format; boxes as left, top, width, height in pixels.

        Args:
            image_id: COCO's id of the image.
            category_ids: class index -> COCO's id of the category; None is COCO's own ids if the
                names are its 80 classes, else the class index itself.
        """
        return detection_formats.to_coco(self, image_id, category_ids, self.names)

    def to_yolo(self, score: bool = False) -> str:
        """Return Darknet's labels: a line `class x y w h [score]` an object, in fractions."""
        return detection_formats.to_yolo(self, self.width, self.height, score=score)

    def to_voc(self) -> str:
        """Return Pascal VOC's XML; boxes in whole pixels counted from 1, inside the image."""
        return detection_formats.to_voc(self, self.width, self.height, self.path)

    def to_supervision(self) -> Any:
        """Return a `supervision.Detections` with `data["class_name"]`; needs that package."""
        names = [d.name for d in self]
        return detection_formats.to_supervision(self.xyxy, self.score, self.class_id, names)

    def draw(
        self, image: ImageSource | None = None, *, scores: bool = True, font: FontFile = None
    ) -> Image.Image:
        """Return the image with the boxes, their classes and scores on it.

        Args:
            image: the image that the boxes are of; None is the file `path`.
            scores: write the scores, too; ground truths have none.
            font: a font file; None is one that has the letters, else the class's index is written.

        Raises:
            UsageError: no path is known, the image has another size, or `font` is no font.
        """
        return _drawn(open_picture(self, image), self.clip().sort(), scores, font)

    def crops(self, image: ImageSource | None = None) -> list[Image.Image]:
        """Return what is inside each box; a box without a whole pixel is skipped. See `draw`."""
        return crop_boxes(open_picture(self, image), [d.box for d in self.clip()])


def unchecked(**values: Any) -> Detections:
    """Return detections of values that are known to fit: checks cost as much as finding them.

    Args:
        values: all that `Detections` takes, in its own types.
    """
    made = object.__new__(Detections)
    made.__dict__.update(values)
    return made


def _check(d: Detections) -> None:
    """Raise UsageError unless shapes and numbers are possible."""
    n = len(d.xyxy) if d.xyxy.ndim else 0
    expected = {"xyxy": (n, 4), "score": (n,), "class_id": (n,)}
    for field, shape in expected.items():
        if (actual := tuple(getattr(d, field).shape)) != shape:
            raise UsageError(f"{field}: shape must be {shape}, not {actual}")
    if not (_is_finite(d.xyxy) and _is_finite(d.score)):
        raise UsageError("xyxy, score: a number is infinite or not a number")
    if n and int(d.class_id.min()) < 0:
        raise UsageError(f"class_id: {int(d.class_id.min())} is below 0")
    if d.width < 1 or d.height < 1:
        raise UsageError(f"an image of {d.width}x{d.height} pixels has no inside")


def _is_finite(values: torch.Tensor) -> bool:
    """Return whether all are; their sum tells in a tenth of the time, unless it overflows."""
    return math.isfinite(values.sum()) or bool(values.isfinite().all())


def _are_of(d: Detections, classes: str | int | Iterable[str | int]) -> torch.Tensor:
    """Return a mask (N,) of the detections of some classes."""
    several = [classes] if isinstance(classes, str | int) else list(classes)
    return torch.isin(d.class_id, d.class_id.new_tensor([_class_id(c, d.names) for c in several]))


def _class_id(name: str | int, names: Sequence[str]) -> int:
    if isinstance(name, int):
        return name
    if name in names:
        return names.index(name)
    near = difflib.get_close_matches(name, names, 1)
    raise UsageError(f"{name}: no such class" + (f"; did you mean {near[0]}?" if near else ""))


def open_picture(d: Detections, source: ImageSource | None = None) -> Image.Image:
    """Open the image that detections are of.

    Args:
        d: the detections.
        source: the image; None is their file.

    Raises:
        UsageError: no path is known, or the image has another size.
    """
    source = d.path if source is None else source
    if source is None:
        raise UsageError("draw: which image? these detections have no path")
    limit, known = pixel_limit(), d.width * d.height  # the image has been read once
    image = open_image(fetched(source), max(limit, known) if limit else 0)
    if image.size != (d.width, d.height):
        mine, other = (f"{w}x{h}" for w, h in ((d.width, d.height), image.size))
        raise UsageError(f"these detections belong to an image of {mine} pixels, not {other}")
    return image


def _drawn(image: Image.Image, detections: Detections, scores: bool, font: FontFile) -> Image.Image:
    shares = [f" {d.score:.2f}" if scores else "" for d in detections]
    return draw_boxes(
        image,
        [d.box for d in detections],
        [f"{printable(d.name)}{share}" for d, share in zip(detections, shares, strict=True)],
        [class_color(d.class_id) for d in detections],
        substitutes=[
            f"class {d.class_id}{share}" for d, share in zip(detections, shares, strict=True)
        ],
        font=font,
    )
