"""Objects followed from frame to frame, by ByteTrack of the package `trackers`."""

from typing import Any

import numpy as np
import torch

from darknet_torch.extras import require
from darknet_torch.inference.detections import Detections
from darknet_torch.inference.thresholds import Thresholds

__all__ = ["WEAK", "Tracking"]

WEAK = 0.4
"""Share of the threshold down to which a detection continues a track, but begins none."""


class Tracking:
    """Gives the objects of a video numbers, from 0 on.

    Detections below the threshold continue a track where no other does, as ByteTrack does with
    objects that are half hidden; such a detection without a track is left out. An object has its
    number from the second frame on.

    Args:
        thresholds: lowest score of each class with which a track begins.
        rate: frames in a second.

    Raises:
        UsageError: the package is not installed.
    """

    def __init__(self, thresholds: Thresholds, rate: float) -> None:
        self.thresholds = thresholds
        self._tracker: Any = require("trackers", "track").ByteTrackTracker(
            frame_rate=rate,
            track_activation_threshold=thresholds.highest,
            high_conf_det_threshold=thresholds.highest,
        )

    def __call__(
        self, detections: Detections, time: float
    ) -> tuple[Detections, tuple[int | None, ...]]:
        """Return the objects of the next frame in their order, and the number of each.

        Args:
            detections: of the frame, the weak ones among them.
            time: of the frame in seconds, later than that of the frame before.
        """
        least = self.thresholds.of_classes(detections.class_id)
        found = detections.to_supervision()
        if self.thresholds.by_class is not None:
            # ByteTrack has one threshold: scores are taken in relation to that of their class
            relative = detections.score / least.clamp_min(1e-6) * self.thresholds.highest
            found.confidence = relative.clamp_max(1).numpy()
        found.data["row"] = np.arange(len(detections))
        tracked = self._tracker.update(found, timestamp=time)
        ids = np.full(len(detections), -1)
        if len(tracked):
            ids[tracked.data["row"]] = tracked.tracker_id
        kept = (detections.score > least) | torch.from_numpy(ids >= 0)
        numbers = ids[kept.numpy()].tolist()
        return detections[kept], tuple(None if each < 0 else each for each in numbers)
