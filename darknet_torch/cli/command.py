"""What the command does before and after its verb: options of all verbs, warnings, errors."""

import argparse
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from darknet_torch.cli.completion import PrintCompletion
from darknet_torch.cli.output import drop_output, escaped_output, note, verbosity
from darknet_torch.cli.progress import activity
from darknet_torch.cli.verb_parser import VerbParser
from darknet_torch.errors import DarknetError, DarknetWarning, UsageError
from darknet_torch.safety.text import first_line
from darknet_torch.speed.freed_memory import keep_freed_memory
from darknet_torch.version import __version__
from darknet_torch.zoo.http import OFFLINE

__all__ = ["VERBS", "run"]

VERBS = (
    *("detect", "video", "batch", "classify", "generate", "serve", "evaluate", "train"),
    *("data", "anchors", "summary", "check", "convert", "verify", "models"),
)

PRINTS_ITSELF = ("generate",)
"""Verbs whose output comes byte by byte, where no other line may stand between."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    try:
        with warnings.catch_warnings(), escaped_output(), _shown_warnings() as show:
            warnings.simplefilter("always", DarknetWarning)
            warnings.showwarning = show
            warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # the error says more
            if sys.platform == "darwin":  # before torch is imported; it warns of each operator
                os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
            before, words = _imports().parse_known_args(arguments)
            for path in before.imports:
                _import(path)  # first, as it may add to the verbs' options
            options = _parser().parse_args(words)
            with verbosity(quiet=options.quiet, verbose=options.verbose), _offline(options.offline):
                return _run_verb(options)
    except DarknetError as error:
        note(f"darknet-torch: {error}")
        return 2
    except BrokenPipeError:  # the reader of our output has ended, as `head` does
        sys.stderr.close()
        return 1
    except OSError as error:  # a full disk, a folder without permission
        drop_output()
        where = "the output" if error.filename is None else error.filename
        note(f"darknet-torch: {where}: {error.strerror or error}")
        return 2


def _run_verb(options: argparse.Namespace) -> int:
    """Run a verb, with a line on a terminal that says so while it is silent."""
    keep_freed_memory()
    prints_itself = options.verb in PRINTS_ITSELF
    with nullcontext() if prints_itself else activity(options.verb):
        status: int = options.run(options)
        return status


@contextmanager
def _offline(offline: bool) -> Iterator[None]:
    """Fetch nothing until the end of the context, if so."""
    before = os.environ.get(OFFLINE)
    if offline:
        os.environ[OFFLINE] = "1"
    try:
        yield
    finally:
        if offline and before is None:
            del os.environ[OFFLINE]


def _imports() -> argparse.ArgumentParser:
    """Return the parser of the option that adds to the others."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(
        "--import",
        dest="imports",
        metavar="FILE",
        action="append",
        default=[],
        help="run a Python file first, which defines layers, heads or formats; may be repeated",
    )
    return parser


def _import(path: str) -> None:
    """Run a Python file as a module of its name; UsageError where that raises an error."""
    spec = spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise UsageError(f"--import {path}: must be a Python file (.py)")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except DarknetError:
        raise
    except Exception as error:  # other people's code, with errors of every kind
        raise UsageError(f"--import {path}: {type(error).__name__}: {first_line(error)}") from error


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser(
        prog="darknet-torch",
        description="Darknet networks (.cfg + .weights) in PyTorch, with Darknet's own numbers.",
        parents=[_imports()],
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--completion", action=PrintCompletion)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name in VERBS:
        module = import_module(f"{__package__}.{name}")
        first, _, rest = (module.__doc__ or "").partition("\n")
        verb = verbs.add_parser(
            name,
            help=first,
            description=f"{first}\n{rest}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.module = module
    return parser


@contextmanager
def _shown_warnings() -> Iterator[Callable[..., None]]:
    """Yield what shows a warning; of a kind the first one, and at the end how many others."""
    others: Counter[str] = Counter()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        kind = message.kind if isinstance(message, DarknetWarning) else None
        if kind is not None and kind in others:
            others[kind] += 1
            return
        if kind is not None:
            others[kind] = 0
        note(f"warning: {message}")

    try:
        yield show
    finally:
        for kind, count in others.items():
            if count:
                note(f"warning: {count} more images: {kind}")
