"""Find the anchors that fit a data set best, as lines for a cfg.

example: darknet-torch anchors my.yaml --clusters 6 --width 416 --height 416
"""

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from darknet_torch.data.anchors import Anchors


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("data", metavar="DATA", help="a .yaml, a .data file, a list or a folder")
    parser.add_argument("--clusters", type=int, default=9, help="how many anchors (%(default)s)")
    parser.add_argument("--width", type=int, required=True, help="of the network's input, pixels")
    parser.add_argument("--height", type=int, required=True, help="of the network's input, pixels")
    parser.add_argument(
        *("--for",),
        dest="head",
        choices=("yolo", "region"),
        default="yolo",
        help="section: yolo has anchors in pixels, region in cells of 32 pixels (%(default)s)",
    )
    parser.add_argument("--heads", type=int, help="how many [yolo] sections share the anchors")
    parser.add_argument("--letterbox", action="store_true", help="images keep their aspect ratio")
    parser.add_argument("--restarts", type=int, default=50, help="k-means++ starts (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the starts (%(default)s)")
    parser.add_argument("--split", default="train", help="part of the data set (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of cfg lines")


def run(options: argparse.Namespace) -> int:
    """Print the lines of a cfg, with their mean IoU as comments."""
    from darknet_torch.data import read
    from darknet_torch.data.anchors import cfg_lines, find_anchors

    anchors = find_anchors(
        read(options.data, split=options.split),
        options.clusters,
        options.width,
        options.height,
        head=options.head,
        letterbox=options.letterbox,
        restarts=options.restarts,
        seed=options.seed,
    )
    lines = cfg_lines(anchors, options.head, options.heads)
    print(json.dumps(_as_dict(anchors, lines)) if options.json else _text(anchors, lines))
    return 0


def _as_dict(anchors: "Anchors", lines: list[str]) -> dict[str, object]:
    return {
        "anchors": anchors.sizes.tolist(),
        "mean_iou": anchors.mean_iou,
        "counts": anchors.counts.tolist(),
        "cfg": lines,
    }


def _text(anchors: "Anchors", lines: list[str]) -> str:
    counts = ", ".join(map(str, anchors.counts))
    quality = f"# {anchors.counts.sum()} boxes, mean IoU {anchors.mean_iou:.2%}"
    return "\n".join([quality, f"# boxes of each anchor: {counts}", *lines])
