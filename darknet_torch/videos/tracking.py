"""Objects followed from frame to frame, by ByteTrack of the package `trackers`."""

from typing import Any

import numpy as np
import torch

from darknet_torch.extras import require
from darknet_torch.inference.detections import Detections

__all__ = ["WEAK", "Tracking"]

WEAK = 0.4
"""Share of the threshold down to which a detection continues a track, but begins none."""


class Tracking:
    """Gives the objects of a video numbers, from 0 on.

    Detections below the threshold continue a track where no other does, as ByteTrack does with
    objects that are half hidden; such a detection without a track is left out. An object has its
    number from the second frame on.

    Args:
        threshold: lowest score with which a track begins.
        rate: frames in a second.

    Raises:
        UsageError: the package is not installed.
    """

    def __init__(self, threshold: float, rate: float) -> None:
        self.threshold = threshold
        self._tracker: Any = require("trackers", "track").ByteTrackTracker(
            frame_rate=rate,
            track_activation_threshold=threshold,
            high_conf_det_threshold=threshold,
        )

    def __call__(
        self, detections: Detections, time: float
    ) -> tuple[Detections, tuple[int | None, ...]]:
        """Return the objects of the next frame in their order, and the number of each.

        Args:
            detections: of the frame, the weak ones among them.
            time: of the frame in seconds, later than that of the frame before.
        """
        found = detections.to_supervision()
        found.data["row"] = np.arange(len(detections))
        tracked = self._tracker.update(found, timestamp=time)
        ids = np.full(len(detections), -1)
        if len(tracked):
            ids[tracked.data["row"]] = tracked.tracker_id
        kept = (detections.score > self.threshold) | torch.from_numpy(ids >= 0)
        numbers = ids[kept.numpy()].tolist()
        return detections[kept], tuple(None if each < 0 else each for each in numbers)
