"""Write a network in another program's format, and verify what was written.

examples: darknet-torch convert yolov4-tiny -o yolov4-tiny.onnx
          darknet-torch convert my.cfg my.weights -o my.onnx --contents detections
          darknet-torch convert my.cfg my.weights -o backbone.weights --cutoff 15
"""

import argparse
import sys
from typing import Any

from darknet_torch.cli.arguments import add_cfg, add_weights, load_network
from darknet_torch.errors import UsageError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_cfg(parser)
    add_weights(parser)
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help="file to write")
    parser.add_argument("--to", metavar="FORMAT", help="format (default: told by FILE's ending)")
    parser.add_argument("--no-verify", action="store_true", help="do not run what was written")
    parser.add_argument(
        "--contents",
        choices=("raw", "boxes", "detections"),
        help="maps before the heads, boxes, or detections (raw, unless detections have options)",
    )
    parser.add_argument("--dtype", choices=("float32", "float16"), help="precision (float32)")
    parser.add_argument("--opset", type=int, help="ONNX: version of the operators (18)")
    parser.add_argument(
        "--fixed-batch", dest="dynamic_batch", action="store_false", default=None, help="batch of 1"
    )
    parser.add_argument(
        "--fixed-size", dest="dynamic_size", action="store_false", default=None, help="one H and W"
    )
    parser.add_argument("--threshold", type=float, help="detections: lowest probability")
    parser.add_argument(
        "--nms",
        type=_overlap,
        help="detections: overlap allowed (0.45); or standard, as --nms-kind standard",
    )
    parser.add_argument("--nms-kind", help="detections: default, greedynms, diounms or standard")
    parser.add_argument("--max-det", type=int, help="detections: most of a picture and class")
    parser.add_argument("--cutoff", type=int, help="Darknet: only the first N layers")
    parser.add_argument("--classes", type=int, help="Darknet: heads for so many classes")
    parser.add_argument(
        "--fuse", action="store_true", default=None, help="Darknet: batch norm into the weights"
    )
    parser.add_argument(
        "--as-detector",
        action="store_true",
        default=None,
        help="with --fuse: shortcut weights too, as AlexeyAB's detector changes them",
    )
    parser.add_argument("--python", help="interpreter that has the converter, where it needs one")


OPTIONS = (
    *("contents", "dtype", "opset", "dynamic_batch", "dynamic_size", "threshold", "nms"),
    *("nms_kind", "max_det", "cutoff", "classes", "fuse", "as_detector", "python"),
)


def _overlap(text: str) -> float | str:
    try:
        return text if text == "standard" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: must be a number or standard") from None


def run(options: argparse.Namespace) -> int:
    """Convert; then verify, if the file can be run or read again here."""
    from darknet_torch.exporters.export import export

    network = load_network(options)
    given = {name: getattr(options, name) for name in OPTIONS}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    export(network, options.out, to=options.to, **chosen)
    print(f"wrote {options.out}")
    changed = options.cutoff is not None or options.classes is not None
    return 0 if options.no_verify or changed else _verified(network, options.out)


def _verified(network: Any, path: str) -> int:
    from darknet_torch.exporters.verification import COMPARED, verify

    if not path.lower().endswith(COMPARED):
        return 0

    try:
        report = verify(network, path)
    except UsageError as error:
        print(f"not verified: {error}", file=sys.stderr)
        return 0
    print(report)
    return 0 if report.good else 1
