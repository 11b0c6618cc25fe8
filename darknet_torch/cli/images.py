"""The images of detect and classify: where they come from, and the loop over them."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darknet_torch.cli.output import inform, is_quiet, note, print_json
from darknet_torch.cli.progress import with_bar
from darknet_torch.errors import UsageError
from darknet_torch.files import is_file
from darknet_torch.safety.text import printable

if TYPE_CHECKING:
    from darknet_torch.inference.streaming import Outcome

__all__ = [
    "STANDARD_INPUT",
    "add_images",
    "batches",
    "own_share",
    "own_suffix",
    "show_all",
    "wait_for_others",
]

STANDARD_INPUT = "-"
HELP = (
    "files, folders, globs, lists (a path a line), addresses (https://...), or - for paths on"
    " standard input; before them the .weights file, if CFG is a file"
)

SHOWN = 20
"""Errors of images that are printed one by one; --json has all."""


def add_images(parser: argparse.ArgumentParser, *, sample: bool = False) -> None:
    """Add the images, and how their results are printed.

    sample: no image at all stands for the sample.
    """
    count, end = ("*", ". Without any, the sample image") if sample else ("+", "")
    parser.add_argument("images", metavar="IMAGE", nargs=count, help=HELP + end)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print JSON, an object a line for each image as it is done, with `error` if broken",
    )


def batches(words: Sequence[str]) -> Iterator[list[str]]:
    """Yield the images that words of the command line stand for: at once, or as paths arrive.

    Raises:
        ImageError: a folder, glob or list without images.
        UsageError: paths on standard input under `torchrun`.
    """
    from darknet_torch.distributed import ranks
    from darknet_torch.inference.sources import expand

    if STANDARD_INPUT in words and ranks().size > 1:
        raise UsageError(f"{STANDARD_INPUT}: paths on standard input cannot be shared by torchrun")
    if STANDARD_INPUT not in words:
        yield list(expand(list(words))[0])
        return
    for word in words:
        if word == STANDARD_INPUT:
            yield from _arriving()
        else:
            yield list(expand(word)[0])


def own_share(sources: Sequence[str]) -> list[int]:
    """Return the indices of the images that are this process's under `torchrun`; else of all."""
    from darknet_torch.distributed import ranks, shares

    group = ranks()
    if group.size == 1:
        return list(range(len(sources)))
    paths = map(Path, sources)
    sizes = [path.stat().st_size if is_file(path) else 0 for path in paths]
    return shares(sizes, group.size)[group.rank]


def wait_for_others() -> None:
    """Wait for the other processes of `torchrun`, which ends all when one ends with an error."""
    from darknet_torch.distributed import ranks, wait_for_all

    if ranks().size > 1:
        wait_for_all()


def own_suffix() -> str:
    """Return what the files of this process are called besides their name: "" of the only one."""
    from darknet_torch.distributed import ranks

    group = ranks()
    return f".{group.rank}" if group.size > 1 else ""


def _arriving() -> Iterator[list[str]]:
    """Yield lists of the paths that have arrived meanwhile, one a line or with NUL between them.

    A program that writes one path after the other gets each result at once; many are read ahead.
    """
    if sys.stdin.isatty():
        inform("paths of images, one a line; Ctrl-D ends")
    rest = b""
    while chunk := os.read(sys.stdin.fileno(), 1 << 16):
        *lines, rest = re.split(rb"[\n\0]", rest + chunk)
        yield from _paths(lines)
    yield from _paths([rest])


def _paths(lines: Sequence[bytes]) -> Iterator[list[str]]:
    """Yield the lines that are not blank in one list, if there are any."""
    if paths := [os.fsdecode(path) for line in lines if (path := line.strip())]:
        yield paths


def show_all(
    sources: Iterator[list[str]],
    stream: Callable[[list[str]], "Iterator[Outcome[Any]]"],
    show: Callable[["Outcome[Any]"], str],
    *,
    as_json: bool,
) -> int:
    """Compute and print the results of all images; those that are broken are reported at the end.

    Args:
        sources: images, list by list.
        stream: images -> their outcomes.
        show: an outcome -> what is printed if it is good; it may write files.
        as_json: print JSON in place of that.

    Returns:
        The exit status: 1 if an image is broken.
    """
    broken = []
    try:
        for batch in sources:
            for outcome in with_bar(stream(batch), len(batch)):
                text = show(outcome)
                if outcome.result is None:
                    broken.append(outcome.error)
                if as_json:
                    print_json(_as_dict(outcome))
                elif outcome.result is not None and not is_quiet():
                    print(text + "\n", end="", flush=True)  # in one piece, whoever reads it
    finally:
        for error in broken[:SHOWN]:
            note(f"darknet-torch: {error}")
        if broken[SHOWN:]:
            note(f"darknet-torch: {len(broken) - SHOWN} more images cannot be read")
    return int(bool(broken))


def _as_dict(outcome: "Outcome[Any]") -> dict[str, Any]:
    if outcome.result is not None:
        content: dict[str, Any] = outcome.result.to_dict()
        return content
    return {"path": str(outcome.source), "error": printable(str(outcome.error))}
