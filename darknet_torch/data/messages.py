"""Values from files, made fit for a message: printable, and not longer than a line."""

import math
from typing import Any

from darknet_torch.errors import DataError

__all__ = ["number", "plain", "shown"]

_LONGEST = 200


def plain(text: str) -> str:
    """Text from anywhere on one line that can be printed."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cut(text: str) -> str:
    """A path may have thousands of letters; the line stands at its end."""
    text = text if len(text) <= 1000 else f"{text[:500]}...{text[-400:]}"
    return plain(text)


def shown(value: Any) -> str:
    """A value from a file, for a message: not longer than a line."""
    text = value[: _LONGEST + 1] if isinstance(value, str) else _word(value)
    return plain(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def _word(value: Any) -> str:
    """Of a list its kind alone: it may be long, and hold others."""
    simple = isinstance(value, float | None) or (isinstance(value, int) and abs(value) < 1 << 64)
    return str(value) if simple else f"a {type(value).__name__}"


def number(value: Any) -> float:
    """A finite number, of a text too; raises DataError that says what is there instead."""
    allowed = isinstance(value, int | float | str) and not isinstance(value, bool)
    try:
        found = float(value) if allowed and "_" not in str(value)[:_LONGEST] else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{shown(value)}: a finite number wanted")
    return found
