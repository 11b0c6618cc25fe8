"""Measure a network on a data set: mAP as in Darknet, VOC and COCO; top k of classifiers.

examples: darknet-torch evaluate yolov4-tiny coco.yaml --points 101
          darknet-torch evaluate my.cfg my.weights obj.data --batch-size 8 --plots
          torchrun --standalone --nproc-per-node 4 --no-python darknet-torch evaluate yolov4 my.yaml

DATA is a .yaml, Darknet's .data, a list of images, a folder, or COCO's .json (docs/data.md).
Exit status 1: images are missing or cannot be read; the others are measured.
"""

import argparse
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
from darknet_torch.cli.output import note, print_json
from darknet_torch.cli.parameters import add_parameters, given, parameters_of
from darknet_torch.cli.progress import working_bar
from darknet_torch.errors import UsageError

if TYPE_CHECKING:
    from darknet_torch.data import Dataset
    from darknet_torch.evaluation import ClassificationResult, DetectionResult

SIGNATURE = ("darknet_torch.evaluation.evaluator", "evaluate")
NEGATIVE = {
    "letterbox": ("--stretch", "fill the input (classifiers: cut out the centre)"),
    "leaves": ("--all-nodes", "of classifiers with a word tree: inner classes too"),
}
BROKEN = {"missing picture", "unreadable picture"}
SHOWN = 20


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_cfg(parser)
    parser.add_argument(
        "data", metavar="DATA", nargs="+", help="before it the .weights file, if CFG is a file"
    )
    parser.add_argument("--weights", help="weights file (default: the named model's)")
    parser.add_argument("--names", help="names of the network's classes, one a line")
    add_parameters(
        parser,
        parameters_of(*SIGNATURE),
        _options(),
        flags={"use_map": "--map"},
        negative=NEGATIVE,
    )
    parser.add_argument("--data-names", help="names of the data's classes (default: DATA's)")
    add_engine(parser)
    add_speed(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--csv", action="store_true", help="print the classes as CSV")
    parser.add_argument("--out", metavar="FOLDER", help="write all results as files, too")
    parser.add_argument("--plots", action="store_true", help="plots too (to evaluation/)")


def _options() -> list[str]:
    """Return the parameters of `evaluate` that are options; --names are the network's."""
    return [name for name in parameters_of(*SIGNATURE) if name not in ("names", "progress")]


def run(options: argparse.Namespace) -> int:
    """Evaluate; print and write the results; list the problems of the data."""
    from darknet_torch import distributed
    from darknet_torch.extras import require

    if options.plots:
        require("matplotlib", "plot")  # before hours of work, not after
    take_weights(options, among="data")
    if len(options.data) != 1:
        raise UsageError(f"must be one DATA, not {len(options.data)}: {' '.join(options.data)}")
    use_own_card(options)
    with distributed.process_group() as group:
        result = _evaluate(options)
    if group.rank == 0:
        _show(result, options)
    return int(any(problem.kind in BROKEN for problem in result.dataset.problems))


def _evaluate(options: argparse.Namespace) -> "DetectionResult | ClassificationResult":
    from darknet_torch.evaluation.evaluator import evaluate

    network = load_runnable(options)
    with working_bar() as progress:
        return evaluate(
            network,
            options.data[0],
            names=options.data_names,
            progress=progress,
            **given(options, _options()),
        )


def _show(result: "DetectionResult | ClassificationResult", options: argparse.Namespace) -> None:
    from darknet_torch.evaluation.result_files import write

    if options.json:
        print_json(result.to_dict())
    elif options.csv:
        print(result.to_csv(), end="")
    else:
        print(result)
    if options.out or options.plots:
        for path in write(result, Path(options.out or "evaluation"), plots=options.plots):
            note(f"wrote {path}")
    _show_problems(result.dataset)


def _show_problems(dataset: "Dataset") -> None:
    """Print what was guessed; the first problems, faults before notes, and the number of all."""
    from darknet_torch.data import NOTES

    for guess in dataset.guesses:
        note(f"a guess: {guess}; --format, --data-names say otherwise")
    problems = sorted(dataset.problems, key=lambda p: (p.kind not in BROKEN, p.kind in NOTES))
    for problem in problems[:SHOWN]:
        note(f"warning: {problem}")
    if problems[SHOWN:]:
        counts = ", ".join(f"{kind} {count}" for kind, count in dataset.counts.items())
        note(f"warning: {len(problems)} problems of the data in all: {counts}")
