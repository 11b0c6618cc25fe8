"""XML from untrusted files as a small tree, without document types and entities, of limited size.

Entities are how XML reads other files and fills the memory. Annotations need neither, so that a
document type, the only place to declare entities, is refused where it begins.
"""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

from darknet_torch.data.messages import shown
from darknet_torch.errors import DataError
from darknet_torch.files import read_bytes
from darknet_torch.safety.text import printable

__all__ = ["Element", "read_xml"]

MAX_XML = 1 << 20
_DEEPEST = 30
_LONGEST_TEXT = 10_000


@dataclass(slots=True)
class Element:
    """A tag with its text, its children, and the line on which it begins."""

    tag: str
    line: int = 0
    text: str = ""
    children: "list[Element]" = field(default_factory=list)

    def all(self, tag: str) -> "Iterator[Element]":
        """Return the children with that tag."""
        return (child for child in self.children if child.tag == tag)

    def find(self, path: str) -> "Element | None":
        """Return the first element at a path such as `bndbox/xmin`."""
        element: Element | None = self
        for tag in path.split("/"):
            element = next(element.all(tag), None) if element is not None else None
        return element

    def get(self, path: str) -> str | None:
        """Return the text of the element at a path, None if there is none."""
        element = self.find(path)
        return None if element is None else element.text.strip()


def read_xml(path: Path) -> Element:
    """Return the root element of a file.

    Raises:
        DataError: unreadable, more than 1 MB, no XML, a document type, or tags more than 30 deep.
            The message names the line, not the file.
    """
    raw = _in_utf8(read_bytes(path, MAX_XML, DataError, "an annotation"))
    builder = _Builder()
    try:
        builder.parser.Parse(raw, True)
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code)
        raise DataError(f"line {error.lineno}: no XML: {what}") from error
    except (LookupError, ValueError) as error:  # of encodings that Python does not know
        raise DataError(f"no XML: {printable(str(error))}") from error
    return builder.document.children[0]


_DECLARED = re.compile(
    rb"""<\?xml[^>]{0,100}?encoding\s*=\s*["']([\w.-]{1,20})["'][^>]{0,100}\?>"""
)
_EAST_ASIAN = set("big5 cp932 cp949 cp950 euc-jp euc-kr gb18030 gb2312 gbk shift_jis".split())


def _in_utf8(raw: bytes) -> bytes:
    """Return a document in UTF-8, with escapes for bytes that are no text, where expat needs that.

    A document without a declared encoding is in UTF-8 (XML 1.0, 4.3.3), but editors write that of
    their country. Of the declared encodings expat lacks those with several bytes a letter.
    """
    if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return raw
    declared = _DECLARED.match(raw)
    name = "utf-8" if declared is None else declared[1].decode().lower()
    if name == "utf-8":
        return raw.decode(name, "backslashreplace").encode()
    if declared is not None and name in _EAST_ASIAN:
        return raw[declared.end() :].decode(name, "backslashreplace").encode()
    return raw


class _Builder:
    def __init__(self) -> None:
        self.document = Element("")
        self._open = [self.document]
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        for name in ("StartDoctypeDecl", "EntityDecl", "ExternalEntityRef"):
            setattr(self.parser, f"{name}Handler", self._refuse(name))

    def _start(self, tag: str, _: object) -> None:
        if len(self._open) > _DEEPEST:
            raise DataError(f"line {self._line}: tags more than {_DEEPEST} deep")
        element = Element(tag, self._line)
        self._open[-1].children.append(element)
        self._open.append(element)

    def _end(self, _: str) -> None:
        self._open.pop()

    def _text(self, text: str) -> None:
        if (
            len(self._open[-1].text) < _LONGEST_TEXT
        ):  # text in a million pieces takes minutes to join
            self._open[-1].text += text[:_LONGEST_TEXT]

    def _refuse(self, name: str) -> Callable[..., None]:
        def refuse(*given: Any) -> None:
            what = f"{name} {shown(given[0])}" if given else name
            raise DataError(f"line {self._line}: {what}: no document types and entities here")

        return refuse

    @property
    def _line(self) -> int:
        return self.parser.CurrentLineNumber
