"""A frame of a video with what was detected on it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from darknet_torch.images.drawing import FontFile, class_color, draw_boxes_on
from darknet_torch.inference.detections import Detections
from darknet_torch.safety.text import printable, to_json
from darknet_torch.videos.counting import ZoneCounts

__all__ = ["VideoFrame"]


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """A frame of a video with its detections.

    Args:
        image: (H, W, 3) uint8, RGB, upright.
        number: of the frame in the video, from 0.
        time: in seconds from the beginning of the video.
        detections: the objects in the frame.
        track_ids: the number of each object, the same in all frames; None of an object that was
            seen once so far; None in place of all where nothing is tracked.
        counts: what the lines and zones have counted so far; None without such.
        duration: in seconds; None where nobody knows.
    """

    image: npt.NDArray[np.uint8]
    number: int
    time: float
    detections: Detections
    track_ids: tuple[int | None, ...] | None = None
    counts: ZoneCounts | None = None
    duration: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values; boxes as xyxy in pixels."""
        content = self.detections.to_dict()
        del content["path"]
        if self.track_ids is not None:
            rows = zip(content["detections"], self.track_ids, strict=True)
            content["detections"] = [{**row, "track_id": number} for row, number in rows]
        if self.counts is not None:
            content["counts"] = self.counts.to_dict()
        return {"frame": self.number, "time": round(self.time, 6), **content}

    def to_json(self) -> str:
        """Return `to_dict` as JSON, on one line."""
        return to_json(self.to_dict())

    def draw(self, *, scores: bool = True, font: FontFile = None) -> Image.Image:
        """Return the frame with boxes, classes, scores, track ids, lines and zones on it.

        Args:
            scores: write the scores, too.
            font: a font file; None is one that has the letters.

        Raises:
            UsageError: `font` is no font.
        """
        found = list(self.detections.clip())
        ids = self.track_ids or (None,) * len(found)
        starts = ["" if number is None else f"{number} " for number in ids]
        ends = [f" {d.score:.2f}" if scores else "" for d in found]
        names = [printable(d.name) for d in found], [f"class {d.class_id}" for d in found]
        labels, plain = (
            [f"{a}{b}{c}" for a, b, c in zip(starts, each, ends, strict=True)] for each in names
        )
        colors = [class_color(d.class_id) for d in found]
        boxes = [d.box for d in found]
        image = Image.fromarray(self.image)  # a copy
        draw_boxes_on(image, boxes, labels, colors, substitutes=plain, font=font)
        return image if self.counts is None else self.counts.drawn(image, font)
