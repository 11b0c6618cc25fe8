"""Detect in folders, globs, Parquet files and WebDataset shards; write the results as Parquet.

examples: darknet-torch batch yolov4-tiny photos/ found/
          darknet-torch batch my.cfg my.weights "s3://bucket/shards/*.tar" s3://bucket/found --ray
          darknet-torch batch yolov4-tiny images.parquet found/ --column image

The same command goes on where it was stopped. An image that cannot be read is a row with its error;
exit status 1 where there are such.
"""

import argparse

from darknet_torch.cli.arguments import add_cfg, take_weights
from darknet_torch.cli.output import inform, note
from darknet_torch.cli.parameters import add_parameters, parameters_of
from darknet_torch.cli.progress import doing, with_bar
from darknet_torch.errors import UsageError
from darknet_torch.safety.text import printable

SIGNATURE = ("darknet_torch.inference.detector", "detect")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_cfg(parser)
    parser.add_argument(
        "words",
        metavar="INPUT OUTPUT",
        nargs="+",
        help="a folder, file or glob of images, .parquet or .tar files, and the folder to write to;"
        " before them the .weights file, if CFG is a file; addresses are those of fsspec",
    )
    parser.add_argument("--weights", help="weights file (default: the named model's)")
    parser.add_argument("--names", help="file of class names, one a line; or a .data or .yaml")
    parser.add_argument("--threshold", type=float, help="lowest score (default: the fork's)")
    parser.add_argument("--nms", type=float, default=0.45, help="IoU of NMS (%(default)s)")
    parser.add_argument(
        "--batch-size", type=int, default=8, help="images in one forward pass (%(default)s)"
    )
    parser.add_argument(
        "--column", default="bytes", help="of Parquet: column of the images (%(default)s)"
    )
    add_parameters(parser, parameters_of(*SIGNATURE), ["decoder"])
    parser.add_argument(
        "--compile",
        action="store_true",
        help="let each worker compile the network first, a minute or more, for work of hours",
    )
    parser.add_argument("--device", help="cpu, cuda (default: a graphics card if there is one)")
    parser.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="run on a Ray cluster: this machine's, or that of the address",
    )
    parser.add_argument("--workers", type=int, help="of --ray: how many (default: one a GPU)")


def run(options: argparse.Namespace) -> int:
    """Detect in what is not done yet; print what was done."""
    from darknet_torch.batch.detector import RayDetector
    from darknet_torch.batch.inputs import units_of
    from darknet_torch.batch.output import Output
    from darknet_torch.batch.running import run_here, run_on_ray

    take_weights(options, among="words")
    if len(options.words) != 2 or not all(options.words):
        raise UsageError("batch: after the network come INPUT and OUTPUT, neither of them empty")
    source, output = options.words
    detector = RayDetector(
        options.cfg,
        options.weights,
        device=options.device,
        names=options.names,
        threshold=options.threshold,
        nms=options.nms,
        batch_size=options.batch_size,
        decoder=options.decoder,
        compile=options.compile,
    )
    names = ("cfg", "weights", "names", "threshold", "nms", "column", "decoder")
    folder = Output(output)
    folder.begin({name: getattr(options, name) for name in names})
    units, skipped = units_of(source, folder.done())
    if skipped:
        inform(f"{skipped} images or shards are done already")
    doing("batch")
    if options.ray is None:
        outcomes = run_here(units, detector, output, options.column)
    else:
        where = options.ray or None
        outcomes = run_on_ray(
            units, detector, output, options.column, address=where, workers=options.workers
        )
    images = broken = failed = 0
    for done in with_bar(outcomes, len(units), "unit"):
        images, broken = images + done.images, broken + done.broken
        if done.error:
            failed += 1
            note(done.error)
    print(f"{images} images, {broken} of them cannot be read")
    print(f"wrote {printable(output)}")
    return 1 if broken or failed else 0
