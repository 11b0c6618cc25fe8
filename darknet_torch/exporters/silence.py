"""The prints and the advice of libraries that convert, kept from the user."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

__all__ = ["silent"]


@contextmanager
def silent(logger: str | None = None) -> Iterator[None]:
    """Drop prints, progress bars and warnings, and what a logger has to say below an error.

    Args:
        logger: its name; None is the root.
    """
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
        ):
            yield
    finally:
        log.setLevel(before)
