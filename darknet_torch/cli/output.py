"""What the command prints: other people's text escaped, letters that the console has not, too.

How much: `--quiet` leaves out what nobody asked for, `--verbose` adds what the library logs.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import Any, TextIO, cast

from darknet_torch.safety.text import printable, to_json

__all__ = ["drop_output", "escaped_output", "inform", "is_quiet", "note", "print_json", "verbosity"]

_quiet = ContextVar("_quiet", default=False)


@contextmanager
def verbosity(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Set how much is printed until the end of the context.

    quiet: no tables of single images, no bars, no news; verbose: what the library logs.
    """
    token, log = _quiet.set(quiet), logging.getLogger("darknet_torch")
    handler, level = _NoteHandler(), log.level
    if verbose:
        log.addHandler(handler)
        log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        _quiet.reset(token)


def is_quiet() -> bool:
    """Return whether only what was asked for is printed."""
    return _quiet.get()


def inform(text: str) -> None:
    """Print a line to standard error, as `note` does, unless `--quiet` is given."""
    if not is_quiet():
        note(text)


class _NoteHandler(logging.Handler):
    """Prints records as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        note(record.getMessage())


@contextmanager
def escaped_output() -> Iterator[None]:
    """Escape what the verbs print to standard output until the end of the context.

    Raises:
        OSError: the output cannot be written, as on a full disk.
    """
    plain = sys.stdout
    sys.stdout = cast(TextIO, _EscapedStream(plain))
    try:
        yield
    finally:
        sys.stdout = plain
        plain.flush()


def drop_output() -> None:
    """Let what waits in standard output go nowhere: Python would write it once more at its end."""
    with suppress(OSError):  # a stream in memory has no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """Print a line to standard error, with escapes in place of what is no plain text."""
    with suppress(OSError), _above_bars():  # there is nowhere else to say it
        print(_encodable(printable(text), sys.stderr), file=sys.stderr)


def print_json(value: Any) -> None:
    """Print a value as JSON on one line, in ASCII where the console has no other letters."""
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(to_json(value, ascii_only=not unicode), flush=True)


class _EscapedStream:
    """A text stream that escapes what it is given; in all else it is the stream inside."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text, with its newlines and tabs."""
        with _above_bars():
            return self._stream.write(_encodable(printable(text, keep="\n\t"), self._stream))


def _above_bars() -> AbstractContextManager[object]:
    """Take the progress bars off the terminal until the end of the context."""
    bars = sys.modules.get("tqdm")
    if bars is None or not sys.stderr.isatty():
        return nullcontext()
    mode: AbstractContextManager[object] = bars.tqdm.external_write_mode(file=sys.stderr)
    return mode


def _encodable(text: str, stream: TextIO) -> str:
    """Return text with escapes in place of letters that the stream's encoding lacks."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
