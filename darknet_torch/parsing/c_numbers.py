"""Numbers as C's atoi and atof read them: the digits at the start count, whatever follows."""

import re

__all__ = ["atof", "atoi"]

_INTEGER = re.compile(r"\s*([+-]?)0*(\d*)", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def atoi(text: str) -> int:
    """Read an integer as C does; of more than 18 digits, the first 18.

    >>> atoi("4#four"), atoi("3.9"), atoi("abc")
    (4, 3, 0)
    """
    match = _INTEGER.match(text)
    return int(match[1] + (match[2][:18] or "0")) if match else 0


def atof(text: str) -> float:
    """Read a decimal number as C does.

    >>> atof(".5x"), atof("-1e2,"), atof("abc")
    (0.5, -100.0, 0.0)
    """
    match = _NUMBER.match(text)
    return float(match[0]) if match else 0.0
