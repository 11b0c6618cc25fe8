"""Detect objects in images, print them, and write the images with boxes on them.

examples: darknet-torch detect yolov4-tiny
          darknet-torch detect yolov4-tiny street.jpg holidays/ --threshold 0.4
          darknet-torch detect my.cfg my.weights "shots/*.png" --save txt,json --out detections
"""

import argparse
from collections import deque
from collections.abc import Iterator
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING

from darknet_torch.cli.arguments import (
    add_cfg,
    add_engine,
    add_speed,
    load_runnable,
    take_weights,
    use_own_card,
)
from darknet_torch.cli.common_files import COMMON_KINDS
from darknet_torch.cli.images import (
    STANDARD_INPUT,
    add_images,
    batches,
    own_share,
    own_suffix,
    show_all,
    wait_for_others,
)
from darknet_torch.cli.output import inform
from darknet_torch.cli.parameters import add_parameters, given, parameters_of
from darknet_torch.cli.progress import doing
from darknet_torch.cli.result_folder import RESULT_KINDS, ResultFolder, kinds_of
from darknet_torch.errors import UsageError
from darknet_torch.safety.text import printable

if TYPE_CHECKING:
    from darknet_torch.inference.detections import Detections
    from darknet_torch.inference.streaming import Outcome

SIGNATURE = ("darknet_torch.inference.detector", "detect")
MANY = 8
"""Images from which on optimizing a network takes less time than it saves."""
NEGATIVE = {"letterbox": ("--stretch", "fill the input")}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_cfg(parser)
    add_images(parser, sample=True)
    parser.add_argument("--weights", help="weights file (default: the named model's)")
    parser.add_argument("--names", help="file of class names, one a line; or a .data or .yaml")
    parameters, flags = parameters_of(*SIGNATURE), {"use_map": "--map"}
    add_parameters(parser, parameters, _options(), flags=flags, negative=NEGATIVE)
    add_engine(parser)
    add_speed(parser)
    parser.add_argument("--out", default="detections", help="folder to write to (%(default)s)")
    parser.add_argument(
        "--save", default="picture", help=f"list of {', '.join(RESULT_KINDS)} (%(default)s)"
    )
    parser.add_argument("--font", metavar="FILE", help="a font for the labels")
    parser.add_argument("--scores", action="store_true", help="write scores to .txt files, too")
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out images whose files are in the folder, as after Ctrl-C",
    )


def _options() -> list[str]:
    """Return the parameters of `detect` that are options: broken images are never skipped."""
    return [name for name in parameters_of(*SIGNATURE) if name != "errors"]


def run(options: argparse.Namespace) -> int:
    """Detect on all images; report the broken ones at the end."""
    from darknet_torch.inference.detector import Detector
    from darknet_torch.inference.detector_options import names_of
    from darknet_torch.inference.heat_maps import HeatMapDetector
    from darknet_torch.loading import cfg_folder

    kinds = kinds_of(options.save)
    if options.skip_existing and not kinds:
        raise UsageError("--skip-existing: no files are looked for with --save none")
    if options.skip_existing and (common := sorted(kinds & COMMON_KINDS.keys())):
        raise UsageError(
            f"--skip-existing: --save {common[0]} is one file of all images, which would lack the"
            " skipped ones"
        )
    take_weights(options)
    images = options.images or [str(cfg_folder() / "sample.jpg")]
    use_own_card(options)
    sources = batches(images)
    if STANDARD_INPUT in images:
        many = True
    else:
        sources, known = tee(sources)
        many = sum(map(len, known)) >= MANY
    network = load_runnable(options, many=many)
    doing("detect")
    detector = Detector(network, **given(options, _options()))
    runner: Detector | HeatMapDetector = detector
    heat = None
    if "heatmap" in kinds:
        runner = HeatMapDetector(detector)
        heat = runner.draw
    folder = ResultFolder(
        Path(options.out),
        kinds,
        scores=options.scores,
        font=options.font,
        names=names_of(range(detector.class_count), detector.names),
        heat=heat,
        suffix=own_suffix(),
    )
    stems = deque[str]()

    def show(outcome: "Outcome[Detections]") -> str:
        stem, detections = stems.popleft(), outcome.result
        if detections is None:
            return ""
        written = folder.write(stem, outcome.source, detections)
        return _text(outcome.source, detections, written)

    named = _named(sources, folder, stems, skip=options.skip_existing)
    with folder:
        status = show_all(named, runner.stream, show, as_json=options.json)
    for path in folder.finished:
        inform(f"wrote {printable(str(path))}")
    wait_for_others()
    return status


def _named(
    sources: Iterator[list[str]], folder: ResultFolder, stems: deque[str], *, skip: bool
) -> Iterator[list[str]]:
    """Yield the images whose results are not there, and append the names of their files.

    Under `torchrun` each process has its share of the images, whose files have the same names.
    """
    skipped = 0
    for batch in sources:
        named = [(source, folder.stem(source)) for source in batch]
        named = [named[index] for index in own_share(batch)]
        missing = [(source, stem) for source, stem in named if not (skip and folder.has(stem))]
        skipped += len(named) - len(missing)
        stems.extend(stem for _, stem in missing)
        yield [source for source, _ in missing]
    if skipped:
        inform(f"{skipped} images skipped, whose files are in {folder.path}")


def _text(source: str, detections: "Detections", written: list[Path]) -> str:
    """Return what is printed of one image."""
    table = [detections.table()] if len(detections) else []
    paths = [f"wrote {printable(str(path))}" for path in written]
    return "\n".join([f"{printable(source)}: {detections}", *table, *paths])
