"""Write a network in another program's format, and verify the file.

examples: darknet-torch convert yolov4-tiny -o yolov4-tiny.onnx
          darknet-torch convert my.cfg my.weights -o my.onnx --contents detections
          darknet-torch convert my.cfg my.weights -o my.onnx --int8 my.yaml
          darknet-torch convert my.cfg my.weights -o backbone.weights --cutoff 15
"""

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from darknet_torch.cli.arguments import add_cfg, add_weights, load_network
from darknet_torch.cli.output import inform, note
from darknet_torch.cli.parameters import Parameter, add_parameters, given, parameters_of
from darknet_torch.cli.progress import doing
from darknet_torch.errors import ImageError, UsageError
from darknet_torch.exporters.formats import FORMATS
from darknet_torch.safety.text import printable

NEGATIVE = {
    "dynamic_batch": ("--fixed-batch", "batches of 1 only"),
    "dynamic_size": ("--fixed-size", "the cfg's height and width only"),
}

SOME = 4
"""Images of a data set that a file in 8 bits is verified on."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_cfg(parser)
    add_weights(parser)
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help="file to write")
    parser.add_argument(
        "--to", metavar="FORMAT", help=f"{', '.join(FORMATS)} (default: by FILE's ending)"
    )
    parser.add_argument("--no-verify", action="store_true", help="do not run the file to compare")
    add_parameters(parser, options_of_formats(), negative=NEGATIVE)


def options_of_formats() -> dict[str, Parameter]:
    """Return the options of all formats by name; None is each format's own default."""
    known = parameters_of("darknet_torch.exporters.export", "export")
    options = {name: known[name] for name in known if name != "to"}
    for module in dict.fromkeys(each.module for each in FORMATS.values()):
        for name, parameter in parameters_of(module, "write").items():
            options.setdefault(name, replace(parameter, default=None))
    return options


def run(options: argparse.Namespace) -> int:
    """Convert; then verify, if the file can be run or read here."""
    from darknet_torch.exporters.export import write_as

    network = load_network(options)
    doing(f"convert to {options.out}")
    write_as(network, options.out, options.to, given(options, options_of_formats()))
    print(f"wrote {printable(options.out)}")
    _say_who_cannot_run(options.out)
    changed = options.cutoff is not None or options.classes is not None
    path = _file_inside(options.out, options.to)
    status = 0 if options.no_verify or changed else _verified(network, path, options.int8)
    if options.int8 is not None:
        _say_what_it_cost(network, options)
    return status


def _file_inside(path: str, to: str | None) -> str:
    """Return the file that can be run: that inside of a folder, or the one that was written."""
    if to != "triton":
        return path
    from darknet_torch.exporters.triton import MODEL

    return str(Path(path) / MODEL)


def _say_what_it_cost(network: Any, options: argparse.Namespace) -> None:
    """Print score and time in 8 bits beside those in float32, if an engine can run the file."""
    from darknet_torch.exporters.int8_report import compare

    doing("compare with float32")
    try:
        print(compare(network, options.out, options.int8, python=options.python))
    except UsageError as error:
        note(f"not compared: {error}")


def _say_who_cannot_run(path: str) -> None:
    """Print a line where an engine that takes such files does not come back from this one."""
    from darknet_torch.inference.engines import lacks_loop
    from darknet_torch.inference.metadata import read_origin

    kind = read_origin(Path(path)).nms_kind if path.lower().endswith(".onnx") else None
    if lacks_loop("opencv", kind):
        inform(
            f"OpenCV does not come back from the loop of nms_kind={kind} in this file; for it,"
            " --contents boxes or --nms-kind default"
        )


def _some_images(data: str | None) -> list[Path]:
    """Return the first images of the data set that 8 bits were calibrated with."""
    from darknet_torch.data import read

    if data is None:
        return []
    paths = (each.path for each in read(data, needs_labels=False).samples)
    return list(islice(filter(_can_be_read, paths), SOME))


def _can_be_read(path: Path) -> bool:
    """Return whether an image can be decoded; of others calibration has warned."""
    from darknet_torch.images.reading import read

    try:
        read(path)
    except ImageError:
        return False
    return True


def _verified(network: Any, path: str, data: str | None) -> int:
    from darknet_torch.exporters.verification import COMPARED, verify

    if not path.lower().endswith(COMPARED):
        return 0

    doing(f"verify {path}")
    try:
        # it was written a moment ago
        report = verify(network, path, images=_some_images(data), trusted=True)
    except UsageError as error:
        note(f"not verified: {error}")
        return 0
    print(report)
    return 0 if report.good else 1
