"""Compare a converted file with the network that it came from, on real images; 1 if they differ.

examples: darknet-torch verify yolov4-tiny yolov4-tiny.onnx
          darknet-torch verify my.cfg my.weights my.onnx street.jpg --engine openvino
"""

import argparse

from darknet_torch.cli.arguments import add_cfg, load_network, take_weights
from darknet_torch.cli.parameters import add_parameters, given, parameters_of

SIGNATURE = ("darknet_torch.exporters.verification", "verify")
OPTIONS = ("engine", "bound", "trusted")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_cfg(parser)
    parser.add_argument(
        "images",
        metavar="FILE",
        nargs="+",
        help="the .weights file, if CFG is a file; the converted file; images (the sample image)",
    )
    parser.add_argument("--weights", help="weights file (default: the named model's)")
    parser.add_argument("--names", help="file of class names, one a line; or a .data or .yaml")
    add_parameters(parser, parameters_of(*SIGNATURE), OPTIONS, flags={"trusted": "--trust"})


def run(options: argparse.Namespace) -> int:
    """Print one line a comparison."""
    from darknet_torch.errors import UsageError
    from darknet_torch.exporters.verification import verify

    take_weights(options, converted=False)
    if not options.images:
        raise UsageError("verify: the converted file is missing")
    file, *images = options.images
    network = load_network(options)
    report = verify(network, file, images=images, **given(options, OPTIONS))
    print(report)
    return 0 if report.good else 1
