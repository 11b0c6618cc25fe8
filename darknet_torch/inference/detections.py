"""Detections: what was found in one picture. Checked at birth, indexed like an array.

found = detect(model, "dog.jpg")     # Detections(3): dog 0.84, truck 0.78, bicycle 0.60
sure = found[found.score > 0.7]      # Detections(2): dog 0.84, truck 0.78
sure.draw("dog.jpg").save("out.jpg")
"""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image

from darknet_torch.data.coco_classes import COCO_CATEGORY_IDS, are_coco
from darknet_torch.errors import UsageError
from darknet_torch.images.drawing import class_color, crop_boxes, draw_boxes, open_image
from darknet_torch.images.reading import ImageSource

__all__ = ["Detection", "Detections"]


_SHOWN = 10


class Detection(NamedTuple):
    """One found object: box (left, top, right, bottom) in pixels of the picture."""

    box: tuple[float, float, float, float]
    score: float
    class_id: int
    name: str


@dataclass(frozen=True, repr=False, eq=False)
class Detections:
    """The objects found in one picture of width x height pixels.

    xyxy: (N, 4) float32, left, top, right, bottom in pixels, may reach beyond the picture;
    score: (N,) float32; class_id: (N,) int64, an index into `names`. Raises UsageError if the
    shapes do not fit one another or a number is not finite.
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
            raise UsageError(f"class_id: integers wanted, not {self.class_id.dtype}")
        object.__setattr__(self, "xyxy", self.xyxy.float())
        object.__setattr__(self, "score", self.score.float())
        object.__setattr__(self, "class_id", self.class_id.long())
        object.__setattr__(self, "names", tuple(self.names))
        self._check()

    def _check(self) -> None:
        n = len(self.xyxy) if self.xyxy.ndim else 0
        wanted = {"xyxy": (n, 4), "score": (n,), "class_id": (n,)}
        for field, shape in wanted.items():
            if (found := tuple(getattr(self, field).shape)) != shape:
                raise UsageError(f"{field}: shape {shape} wanted, not {found}")
        if not (self.xyxy.isfinite().all() and self.score.isfinite().all()):
            raise UsageError("xyxy, score: a number is infinite or not a number")
        if n and int(self.class_id.min()) < 0:
            raise UsageError(f"class_id: {int(self.class_id.min())} is below 0")
        if self.width < 1 or self.height < 1:
            raise UsageError(f"a picture of {self.width}x{self.height} pixels has no inside")

    @classmethod
    def empty(
        cls, names: Iterable[str], width: int, height: int, path: str | None = None
    ) -> "Detections":
        """Nothing found."""
        none = torch.zeros(0)
        return cls(none.reshape(0, 4), none, none.long(), tuple(names), width, height, path)

    # ---- like a sequence

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, index: Any) -> "Detections":
        """Those that a mask, a tensor or list of indices, a slice or one index selects."""
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
        shown = ", ".join(f"{d.name} {d.score:.2f}" for d in self[:_SHOWN])
        more = ", ..." if len(self) > _SHOWN else ""
        return f"Detections({len(self)})" + (f": {shown}{more}" if shown else "")

    def name(self, class_id: int) -> str:
        """The name of a class; its number, if there are fewer names."""
        return self.names[class_id] if 0 <= class_id < len(self.names) else str(class_id)

    # ---- changed copies

    def filter(
        self,
        classes: str | int | Iterable[str | int] | None = None,
        threshold: float | None = None,
    ) -> "Detections":
        """Those of these classes (names or numbers; None = all) that score above `threshold`."""
        keep = self.score > (float("-inf") if threshold is None else threshold)
        if classes is not None:
            wanted = [classes] if isinstance(classes, str | int) else list(classes)
            ids = self.class_id.new_tensor([self._class_id(c) for c in wanted])
            keep &= torch.isin(self.class_id, ids)
        return self[keep]

    def _class_id(self, name: str | int) -> int:
        if isinstance(name, int):
            return name
        if name in self.names:
            return self.names.index(name)
        near = difflib.get_close_matches(name, self.names, 1)
        raise UsageError(f"{name}: no such class" + (f"; did you mean {near[0]}?" if near else ""))

    def sort(self) -> "Detections":
        """The highest score first; equal scores keep their order."""
        return self[self.score.argsort(descending=True, stable=True)]

    def clip(self) -> "Detections":
        """The boxes cut off at the edges of the picture."""
        edges = self.xyxy.new_tensor((self.width, self.height) * 2)
        return replace(self, xyxy=self.xyxy.clamp(min=0).minimum(edges))

    # ---- as text and for other programs

    def table(self) -> str:
        """One line for each object: class, score, corners in whole pixels."""
        wide = max([len("class"), *(len(d.name) for d in self)])
        lines = [f"{'class':{wide}}  score   left    top  right  bottom"]
        for d in self:
            left, top, right, bottom = (round(v) for v in d.box)
            corners = f"{left:5d}  {top:5d}  {right:5d}  {bottom:6d}"
            lines.append(f"{d.name:{wide}}  {d.score:5.2f}  {corners}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; boxes as xyxy in pixels."""
        found = [
            {
                "class": d.name,
                "class_id": d.class_id,
                "score": _short(d.score),
                "box": [_short(v) for v in d.box],
            }
            for d in self
        ]
        picture = {"path": self.path, "width": self.width, "height": self.height}
        return {**picture, "detections": found}

    def to_json(self) -> str:
        """`to_dict` as JSON, on one line."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_coco(
        self, image_id: int, category_ids: Sequence[int] | Mapping[int, int] | None = None
    ) -> list[dict[str, Any]]:
        """COCO's result format: boxes as left, top, width, height in pixels.

        `category_ids[class_id]` is the number that COCO uses. Default: its own numbers if the
        names are COCO's 80 classes, else the class number itself.
        """
        if category_ids is None and are_coco(self.names):
            category_ids = COCO_CATEGORY_IDS
        rows: list[dict[str, Any]] = []
        for (left, top, right, bottom), score, class_id, _ in self:
            box = [_short(v) for v in (left, top, right - left, bottom - top)]
            category = class_id if category_ids is None else _category(class_id, category_ids)
            row = {"image_id": image_id, "category_id": category}
            rows.append({**row, "bbox": box, "score": _short(score)})
        return rows

    def to_yolo(self, score: bool = False) -> str:
        """Darknet's labels: a line `class x y w h [score]` an object, in fractions."""
        lines = []
        for (left, top, right, bottom), value, class_id, _ in self:
            x, w = (left + right) / 2 / self.width, (right - left) / self.width
            y, h = (top + bottom) / 2 / self.height, (bottom - top) / self.height
            numbers = (x, y, w, h, value) if score else (x, y, w, h)
            lines.append(" ".join([str(class_id), *(f"{v:.6f}" for v in numbers)]) + "\n")
        return "".join(lines)

    def to_voc(self) -> str:
        """Pascal VOC's XML: whole pixels counted from 1, inside the picture."""
        root = ElementTree.Element("annotation")
        _add(root, filename=Path(self.path).name if self.path else "")
        size = ElementTree.SubElement(root, "size")
        _add(size, width=self.width, height=self.height, depth=3)
        for d in self:
            item = ElementTree.SubElement(root, "object")
            _add(item, name=d.name, pose="Unspecified", truncated=0, difficult=0)
            box = ElementTree.SubElement(item, "bndbox")
            tags = ("xmin", "ymin", "xmax", "ymax")
            limits = (self.width, self.height) * 2
            for tag, value, last in zip(tags, d.box, limits, strict=True):
                _add(box, **{tag: min(max(round(value) + 1, 1), last)})
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="unicode") + "\n"

    def to_supervision(self) -> Any:
        """A `supervision.Detections`, with `data["class_name"]`. Needs the package supervision."""
        try:
            supervision = import_module("supervision")
        except ImportError as error:
            raise UsageError("to_supervision: pip install supervision") from error
        names = np.array([d.name for d in self], dtype=str)
        return supervision.Detections(
            xyxy=self.xyxy.numpy(force=True),
            confidence=self.score.numpy(force=True),
            class_id=self.class_id.numpy(force=True),
            data={"class_name": names},
        )

    def draw(self, image: ImageSource | None = None) -> Image.Image:
        """Return the image with the boxes, their classes and scores on it.

        Args:
            image: the image that the boxes are of; None is the file `path`.

        Raises:
            UsageError: no path is known, or the image has another size.
        """
        drawn = self.clip().sort()
        return draw_boxes(
            self._image(image),
            [d.box for d in drawn],
            [f"{d.name} {d.score:.2f}" for d in drawn],
            [class_color(d.class_id) for d in drawn],
        )

    def crops(self, image: ImageSource | None = None) -> list[Image.Image]:
        """Return what is inside each box; a box without a whole pixel is skipped. See `draw`."""
        return crop_boxes(self._image(image), [d.box for d in self.clip()])

    def _image(self, source: ImageSource | None) -> Image.Image:
        source = self.path if source is None else source
        if source is None:
            raise UsageError("draw: which picture? these detections know no path")
        image = open_image(source)
        if image.size != (self.width, self.height):
            wanted, size = (f"{w}x{h}" for w, h in ((self.width, self.height), image.size))
            raise UsageError(f"these detections belong to a picture of {wanted} pixels, not {size}")
        return image


def _short(value: float) -> float:
    """Of a float32 the digits that it has: 0.84 instead of 0.8399999737739563."""
    return float(f"{value:.7g}")


def _category(class_id: int, category_ids: Sequence[int] | Mapping[int, int]) -> int:
    try:
        return category_ids[class_id]
    except LookupError as error:
        raise UsageError(f"category_ids: nothing for class {class_id}") from error


def _add(parent: ElementTree.Element, **children: object) -> None:
    for tag, value in children.items():
        ElementTree.SubElement(parent, tag).text = str(value)
