"""Numbers as C's atoi and atof read them: what begins like a number counts up to where it stops."""

import re

__all__ = ["atof", "atoi"]

_INTEGER = re.compile(r"\s*([+-]?)0*(\d*)", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def atoi(text: str) -> int:
    """Read an integer as C does: `4#four` is 4, `3.9` is 3, `abc` is 0; at most 18 digits."""
    found = _INTEGER.match(text)
    return int(found[1] + (found[2][:18] or "0")) if found else 0


def atof(text: str) -> float:
    """Read a number as C does: `.5x` is 0.5, `abc` is 0."""
    found = _NUMBER.match(text)
    return float(found[0]) if found else 0.0
