"""The command `darknet-torch`: one file a verb, each with `add` (its arguments) and `run`.

What a verb needs beyond its arguments is imported in its `run`: help and lists stay fast.
Exit status: 0 all is well, 1 some pictures or checks failed, 2 the input was wrong.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from darknet_torch.errors import DarknetError, DarknetWarning
from darknet_torch.version import __version__

VERBS = (
    *("detect", "classify", "generate", "evaluate", "data", "anchors"),
    *("summary", "check", "convert", "verify", "models"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", DarknetWarning)
            warnings.showwarning = _show_warning
            status: int = options.run(options)
            return status
    except DarknetError as error:
        print(f"darknet-torch: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darknet-torch",
        description="Darknet networks (.cfg + .weights) in PyTorch, with Darknet's own numbers.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name in VERBS:
        module = import_module(f"{__name__}.{name}")
        first, _, rest = (module.__doc__ or "").partition("\n")
        verb = verbs.add_parser(
            name,
            help=first,
            description=f"{first}\n{rest}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add(verb)
        verb.set_defaults(run=module.run)
    return parser


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)
