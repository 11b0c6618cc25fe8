"""Values from files in error messages: printable, and not longer than a line."""

import math
from typing import Any

from darknet_torch.errors import DataError
from darknet_torch.safety.text import printable

__all__ = ["finite_number", "shorten", "shown"]

_LONGEST = 200


def shorten(text: str) -> str:
    """Return text printable and without its middle if it is long: the line stands at its end."""
    text = text if len(text) <= 1000 else f"{text[:500]}...{text[-400:]}"
    return printable(text)


def shown(value: Any) -> str:
    """Return a value from a file as text for a message, at most 200 characters of it."""
    text = value[: _LONGEST + 1] if isinstance(value, str) else _word(value)
    return printable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def _word(value: Any) -> str:
    """Of a list its type alone: it may be long, and hold others."""
    simple = isinstance(value, float | None) or (isinstance(value, int) and abs(value) < 1 << 64)
    return str(value) if simple else f"a {type(value).__name__}"


def finite_number(value: Any) -> float:
    """Return a finite number, also of text; raise DataError that shows other values."""
    allowed = isinstance(value, int | float | str) and not isinstance(value, bool)
    try:
        number = float(value) if allowed and "_" not in str(value)[:_LONGEST] else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{shown(value)}: a finite number expected")
    return number


def named_in(where: str, name: str) -> str:
    """Return a name for a message with the place that has it; once, if it stands for itself."""
    text = shown(name)
    return text if where in (text, printable(name)) else f"{where}: {text}"
