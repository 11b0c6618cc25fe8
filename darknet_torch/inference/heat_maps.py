"""Heat maps: where in an image a network sees objects, and how sure it is.

Every cell of a head has the highest score of its anchors and classes; the maps of all heads are
brought to the finest grid, and the highest value counts. So much, too, is below the threshold.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.heads.base import Head
from darknet_torch.images.resizing import Placement
from darknet_torch.inference.detections import Detections, open_picture
from darknet_torch.inference.detector import Detector
from darknet_torch.inference.prepared import Prepared
from darknet_torch.inference.streaming import Outcomes, stream

__all__ = ["HeatMapDetector", "draw_heat", "heat"]

COLORS = ((0, 0, 143), (0, 0, 255), (0, 255, 255), (255, 255, 0), (255, 0, 0), (128, 0, 0))
"""RGB of the scores from 0 to 1, at equal distances: blue, cyan, yellow, red."""
MOST_OPAQUE = 0.7


class HeatMapDetector:
    """A detector that also draws the heat map of each image; see `Detector`.

    Args:
        detector: with its settings; the heat maps are of its `classes` alone.

    Raises:
        UsageError: the outputs of the network are boxes already, or images are cut into tiles.
    """

    def __init__(self, detector: Detector) -> None:
        if detector.network.contents != "raw":
            raise UsageError("a heat map needs raw maps: this file was converted to yield boxes")
        if detector.tiled is not None:
            raise UsageError("a heat map is of a whole image, not of tiles")
        self.detector, self.network = detector, detector.network
        self.prepare, self.forward = detector.prepare, detector.forward
        self._maps: WeakKeyDictionary[Detections, tuple[Tensor, Placement]] = WeakKeyDictionary()

    def stream(self, sources: Any) -> Outcomes[Detections]:
        """Yield an outcome for every image, in order, read ahead; `sources` as in `detect`."""
        chosen = self.detector
        return stream(self, sources, chosen.batch_size, chosen.workers, chosen.reading)

    @torch.inference_mode()
    def postprocess(
        self, outputs: Sequence[Tensor], images: Sequence[Prepared]
    ) -> list[Detections]:
        """Return the detections of each image from the network's outputs for a batch."""
        found = self.detector.postprocess(outputs, images)
        maps = heat(self.detector, outputs).cpu()
        placements = [image.placement(self.detector.letterbox) for image in images]
        self._maps.update(zip(found, zip(maps, placements, strict=True), strict=True))
        return found

    def draw(self, detections: Detections, image: Any = None) -> Image.Image:
        """Return an image with the heat map over it.

        Args:
            detections: of the image, from `stream`.
            image: the image; None is the file of the detections.

        Raises:
            UsageError: the detections are not of this detector, or no path is known.
        """
        if detections not in self._maps:
            raise UsageError("these detections do not come from this detector")
        return draw_heat(open_picture(detections, image), *self._maps[detections])


def heat(detector: Detector, outputs: Sequence[Tensor]) -> Tensor:
    """Return the highest score of each cell of the finest grid, (B, H, W) in 0..1.

    Args:
        detector: whose heads and classes count.
        outputs: raw maps (B, c, h, w) of its network, one for each head.
    """
    shape, chosen = detector.network.plan.input, detector.postprocessing.class_filter
    maps = []
    for head, raw in zip(detector.heads, outputs, strict=True):
        scores = head.decode(raw, (shape.h, shape.w), hier_threshold=detector.hier_threshold).scores
        if chosen is not None:
            scores = scores[..., [number for number in sorted(chosen) if number < scores.shape[2]]]
        best = scores.amax(dim=2) if scores.shape[2] else scores.new_zeros(scores.shape[:2])
        maps.append(_by_cell(head, best, head.maps(raw).shape))
    size = max(each.shape[1] for each in maps), max(each.shape[2] for each in maps)
    fine = [F.interpolate(each[:, None], size, mode="bilinear")[:, 0] for each in maps]
    return torch.stack(fine).amax(dim=0).nan_to_num().clamp(0, 1)


def _by_cell(head: Head, best: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the highest of the anchors' values (B, N), in Darknet's order, as (B, H, W)."""
    _, anchors, _, height, width = shape
    sizes = (anchors, height, width) if head.anchor_major else (height, width, anchors)
    return best.reshape(-1, *sizes).amax(dim=1 if head.anchor_major else 3)


def draw_heat(image: Image.Image, scores: Tensor, placement: Placement) -> Image.Image:
    """Return an image with a heat map over it: blue is a score of 0, red one of 1.

    Args:
        image: in RGB.
        scores: (H, W) in 0..1, of the network's input.
        placement: where the image lies in that.
    """
    sx, ox, sy, oy = placement.affine()
    height, width = scores.shape
    part = (-ox / sx * width, -oy / sy * height, (1 - ox) / sx * width, (1 - oy) / sy * height)
    grid = Image.fromarray((scores * 255).round().byte().numpy(force=True))
    grid = grid.resize(image.size, Image.Resampling.BILINEAR, box=part)
    level = np.asarray(grid)
    color = Image.fromarray(_color_table()[level])
    opacity = (MOST_OPAQUE * 255 * np.sqrt(np.linspace(0.04, 1, 256))).astype(np.uint8)
    return Image.composite(color, image, Image.fromarray(opacity[level]))


def _color_table() -> Any:
    """Return the colours (256, 3) uint8 of the scores."""
    stops = np.linspace(0, 255, len(COLORS))
    columns = [np.interp(np.arange(256), stops, each) for each in zip(*COLORS, strict=True)]
    return np.stack(columns, axis=1).astype(np.uint8)
