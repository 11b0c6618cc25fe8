"""The command `darknet-torch`: one file a verb, each with `add` (its arguments) and `run`.

All else that a verb needs is imported in its `run`, so that help and lists are fast.
Exit status: 0 success, 1 some images or checks failed, 2 the input was wrong, 130 after Ctrl-C.
"""

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status. Ctrl-C counts from the first import on."""
    try:
        from darknet_torch.cli.command import run

        return run(arguments)
    except KeyboardInterrupt:
        return 130
