"""Other people's text, shown and written safely: names, paths, values of files, foreign messages.

What a terminal, an XML or a JSON reader would not take for plain text becomes a backslash escape:
control characters, terminal escapes, marks that turn the direction of writing, and bytes that are
no UTF-8, which Python keeps as lone surrogates (`os.fsdecode`).
"""

import csv
import json
import re
import unicodedata
from collections.abc import Iterable
from html import escape
from io import StringIO
from typing import Any

__all__ = [
    "csv_cell",
    "csv_line",
    "first_line",
    "html_row",
    "printable",
    "to_json",
    "without_password",
]

_JOINERS = "\u200c\u200d"  # Persian, Indian scripts and emoji are written with them
_NOT_ASCII = re.compile(r"[^\x20-\x7e\n]")
_FORMULA = ("=", "+", "-", "@")
_MOST_LETTERS = 200
_SECRET = re.compile(r"://[^/@\s]*@")


def printable(text: str, keep: str = "") -> str:
    r"""Return text with escapes in place of what cannot be shown; on one line, unless kept.

    >>> print(printable("caf\udce9 \x1b[31mred\n"))
    caf\xe9 \x1b[31mred\n

    Args:
        text: of any origin; a second pass changes nothing.
        keep: control characters that stay, such as a newline.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or _is_shown(c) else _escape(c) for c in text)


def first_line(error: BaseException) -> str:
    """Return the first line of a foreign error that has any text, cut, or the error's type.

    Messages may hold pages of what a damaged file contains.
    """
    lines = (line.strip() for line in str(error).splitlines())
    line = next(filter(None, lines), type(error).__name__)
    return line if len(line) <= _MOST_LETTERS else f"{line[:_MOST_LETTERS]}..."


def without_password(address: str) -> str:
    """Return an address as it may be shown.

    >>> without_password("rtsp://me:secret@camera/live")
    'rtsp://***@camera/live'
    """
    return _SECRET.sub("://***@", address)


def to_json(value: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """Return a value as JSON that every reader takes, and every terminal shows harmlessly.

    Args:
        value: plain Python values; bytes of names that are no UTF-8 become escapes, as in
            `printable`.
        indent: blanks for each level; None is one line.
        ascii_only: letters beyond ASCII as JSON's own escapes, too.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if ascii_only:
        return _NOT_ASCII.sub(lambda match: _json_escape(match[0]), text)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c == "\n" or _is_shown(c) else _json_escape(c) for c in text)


def csv_cell(value: Any) -> Any:
    """Return a cell of a CSV file; a text that spreadsheets would compute gets a quote before it.

    Args:
        value: text, which is made printable; other values stay.
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def csv_line(cells: Iterable[Any]) -> str:
    """Return a line of a CSV file with its line end; the cells as in `csv_cell`."""
    line = StringIO()
    csv.writer(line, lineterminator="\n").writerow(map(csv_cell, cells))
    return line.getvalue()


def html_row(tag: str, cells: Iterable[object]) -> str:
    """Return a row of an HTML table, its cells as printable text.

    Args:
        tag: "td", or "th" for a head.
        cells: of any type.
    """
    return f"<tr>{''.join(f'<{tag}>{escape(printable(str(cell)))}</{tag}>' for cell in cells)}</tr>"


def _is_shown(character: str) -> bool:
    return (
        character.isprintable()
        or character in _JOINERS
        or unicodedata.category(character) == "Zs"  # blanks of other widths
    )


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def _json_escape(character: str) -> str:
    """JSON has no bytes, and its readers refuse lone surrogates: these become text."""
    lone = 0xD800 <= ord(character) <= 0xDFFF
    return json.dumps(_escape(character) if lone else character)[1:-1]
