"""Objects counted where they cross lines and enter zones, by the package `supervision`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from darknet_torch.errors import UsageError
from darknet_torch.extras import require
from darknet_torch.images.drawing import FontFile, draw_text
from darknet_torch.inference.detections import Detections
from darknet_torch.safety.text import printable
from darknet_torch.videos.zones import ZoneShape

__all__ = ["Counting", "ShapeCount", "ZoneCounts"]

COLOR = 255, 221, 0
"""Of lines and zones, in RGB: yellow, which few classes have."""
FORGOTTEN = 300
"""Frames after which an object that was in a zone counts again when it comes back."""


class ShapeCount(NamedTuple):
    """What a line or zone has counted.

    Args:
        name: of the line or zone.
        points: in pixels.
        is_line: whether it is a line.
        counts: of a line "in" (it was crossed from the right to the left, for somebody who looks
            from its first point to its second) and "out"; of a zone "now" (objects in it) and
            "entered" (all so far): class name -> number.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    is_line: bool
    counts: dict[str, dict[str, int]]

    @property
    def text(self) -> str:
        """Its name and totals, as they are drawn."""
        totals = [f"{name} {sum(each.values())}" for name, each in self.counts.items()]
        return " ".join([printable(self.name), *totals])

    @property
    def report(self) -> str:
        """Its name and the numbers of each class, on one line."""
        parts = [
            f"{name} " + (", ".join(f"{printable(c)} {n}" for c, n in each.items()) or "none")
            for name, each in self.counts.items()
        ]
        return f"{printable(self.name)}: {'; '.join(parts)}"


@dataclass(frozen=True)
class ZoneCounts:
    """What all lines and zones have counted up to a frame."""

    shapes: tuple[ShapeCount, ...]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return {"lines": {name: counts}, "zones": {name: counts}}."""
        return {
            "lines": {each.name: each.counts for each in self.shapes if each.is_line},
            "zones": {each.name: each.counts for each in self.shapes if not each.is_line},
        }

    def drawn(self, image: Image.Image, font: FontFile = None) -> Image.Image:
        """Return a copy of an image with the lines and zones on it, and their totals."""
        image = image.copy()
        draw = ImageDraw.Draw(image)
        width = max(1, round((image.width * image.height) ** 0.5 / 300))
        for shape in self.shapes:
            points = [*shape.points, *([] if shape.is_line else shape.points[:1])]
            draw.line(points, fill=COLOR, width=width)
            draw_text(image, shape.points[0], shape.text, COLOR, font=font)
        return image


class Counting:
    """Counts the tracked objects of a video.

    Args:
        shapes: the lines and zones.
        names: of the network's classes.

    Raises:
        UsageError: a class of a line or zone is none of the network's, or `supervision` is not
            installed.
    """

    def __init__(self, shapes: Sequence[ZoneShape], names: Sequence[str]) -> None:
        self.shapes, self._counters = shapes, list[_LineCounter | _ZoneCounter]()
        self._supervision: Any = require("supervision", "track")
        for shape in shapes:
            if unknown := (shape.classes or frozenset()) - set(names):
                raise UsageError(f"{shape.name}: {min(unknown)} is no class of this network")

    def __call__(
        self, detections: Detections, track_ids: Sequence[int | None], size: tuple[int, int]
    ) -> ZoneCounts:
        """Count the objects of the next frame.

        Args:
            detections: of the frame.
            track_ids: the number of each; those without one are not counted.
            size: width and height of the frame.

        Raises:
            DataError: a line or zone is outside of the frame.
        """
        if not self._counters:
            self._counters = [
                (_LineCounter if shape.is_line else _ZoneCounter)(shape, size, self._supervision)
                for shape in self.shapes
            ]
        return ZoneCounts(tuple(each.update(detections, track_ids) for each in self._counters))


class _Counter:
    """What lines and zones share: their points, and which objects are counted."""

    def __init__(self, shape: ZoneShape, size: tuple[int, int], supervision: Any) -> None:
        self.shape, self.supervision = shape, supervision
        self.points = tuple(shape.in_pixels(*size))
        self.anchors = [supervision.Position[shape.anchor.upper()]]
        self.counts: dict[str, Counter[str]] = {}

    def counted(self, detections: Detections, track_ids: Sequence[int | None]) -> Any:
        """Return supervision's detections of the objects that count, with `tracker_id`."""
        ids = np.array([-1 if each is None else each for each in track_ids], dtype=int)
        found = detections.to_supervision()
        found.tracker_id = ids
        classes = self.shape.classes
        wanted = [classes is None or d.name in classes for d in detections]
        return found[(ids >= 0) & np.array(wanted, dtype=bool)]

    def result(self) -> ShapeCount:
        """Return a copy of the counts."""
        counts = {name: dict(sorted(each.items())) for name, each in self.counts.items()}
        return ShapeCount(self.shape.name, self.points, self.shape.is_line, counts)


class _LineCounter(_Counter):
    def __init__(self, shape: ZoneShape, size: tuple[int, int], supervision: Any) -> None:
        super().__init__(shape, size, supervision)
        start, end = (supervision.Point(*point) for point in self.points)
        self.line = supervision.LineZone(start, end, triggering_anchors=self.anchors)
        self.counts = {"in": Counter(), "out": Counter()}

    def update(self, detections: Detections, track_ids: Sequence[int | None]) -> ShapeCount:
        """Count those that have crossed the line since the last frame."""
        found = self.counted(detections, track_ids)
        for counter, crossed in zip(self.counts.values(), self.line.trigger(found), strict=True):
            counter.update(_names(found, crossed))
        return self.result()


class _ZoneCounter(_Counter):
    def __init__(self, shape: ZoneShape, size: tuple[int, int], supervision: Any) -> None:
        super().__init__(shape, size, supervision)
        polygon = np.array(self.points).round().astype(int)
        self.zone = supervision.PolygonZone(polygon, triggering_anchors=self.anchors)
        self.counts = {"now": Counter(), "entered": Counter()}
        self.frame, self.last_seen = 0, dict[int, int]()

    def update(self, detections: Detections, track_ids: Sequence[int | None]) -> ShapeCount:
        """Count those that are in the zone, and those that have come into it."""
        found = self.counted(detections, track_ids)
        inside = self.zone.trigger(found)
        self.frame += 1
        for number, name in zip(found.tracker_id[inside], _names(found, inside), strict=True):
            if number not in self.last_seen:
                self.counts["entered"][name] += 1
            self.last_seen[number] = self.frame
        oldest = self.frame - FORGOTTEN
        self.last_seen = {each: seen for each, seen in self.last_seen.items() if seen >= oldest}
        self.counts["now"] = Counter(_names(found, inside))
        return self.result()


def _names(found: Any, chosen: npt.NDArray[np.bool_]) -> list[str]:
    """Return the class names of the chosen of supervision's detections."""
    names: list[str] = found.data["class_name"][chosen].tolist() if len(found) else []
    return names
