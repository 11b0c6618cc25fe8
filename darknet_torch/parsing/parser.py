"""Darknet's text files: .cfg <-> sections with line numbers, .data options and .names lists.

The grammar, as both C programs read it:

* every blank, tab and carriage return is deleted, inside the line too (`[ net ]` is `[net]`,
  `wid th = 9` is `width=9`);
* an empty line, or one that begins with `#` or `;`, is skipped; there are no inline comments: a
  number ends after its digits, a word includes all that follows;
* a line that begins with `[` begins a section, and the whole line is its name;
* anything else is an option, split at its first `=`. `key=` without a value counts as absent;
  a line without `=` too, but it still hides later duplicates;
* the first of several equal keys wins.

`options` and `values` interpret the words and numbers.
"""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from darknet_torch.errors import CfgError, DarknetError
from darknet_torch.files import read_bytes
from darknet_torch.safety.foreign_files import known_kind
from darknet_torch.safety.text import printable

__all__ = [
    "Option",
    "Section",
    "parse",
    "read",
    "read_data",
    "read_lines",
    "read_names",
    "read_text",
    "write",
]

MAX_BYTES = 16 << 20
_LONGEST = 60
_BLANKS = str.maketrans("", "", " \t\r")


@dataclass(frozen=True)
class Option:
    """One `key=value` line; `value` is None without a `=`, and empty with nothing behind it."""

    key: str
    value: str | None
    line: int = 0


@dataclass(frozen=True)
class Section:
    """One `[name]` with its options in the order of the file.

    Attributes:
        name: without brackets.
        options: all options, duplicates too.
        line: line number of the header, from 1.
        file: name of the file, for messages.
        folder: the cfg's folder, where files that options name are searched first; None for a
            text that is not from a file.
    """

    name: str
    options: tuple[Option, ...] = ()
    line: int = 0
    file: str = "<cfg>"
    folder: Path | None = field(default=None, compare=False)

    def option(self, key: str) -> Option | None:
        """Return the first option of that key, the one that Darknet takes: not a `key=`."""
        return next((each for each in self.options if each.key == key and each.value != ""), None)

    def get(self, key: str, default: str | None = None) -> str | None:
        """Return the value of the first option of that key; `default` if absent or without `=`."""
        option = self.option(key)
        return default if option is None or option.value is None else option.value

    def error(
        self, what: str, *, line: int | None = None, kind: type[CfgError] = CfgError
    ) -> CfgError:
        """Return an error whose message is `file:line: [name]: what`.

        Args:
            what: what is wrong, and what would be right.
            line: line of the wrong option, if `what` begins with its key; the message is
                `file:line: [name] what` then.
            kind: class of the error.
        """
        return kind(f"{self.where(line)}{':' if line is None else ''} {what}")

    def where(self, line: int | None = None) -> str:
        """Return `file:line: [name]`."""
        header = self.name if self.name.startswith("[") else f"[{self.name}]"
        header = header if len(header) <= _LONGEST else f"{header[:_LONGEST]}..."
        return f"{self.file}:{self.line if line is None else line}: {header}"


def read(source: str | PathLike[str]) -> list[Section]:
    """Read a cfg.

    Args:
        source: path of a file, or the text itself (a string of more than one line).

    Raises:
        CfgError: the file is missing, too large or binary; there is no section, or an option
            before the first section.
    """
    if isinstance(source, str) and "\n" in source:
        return parse(source)
    path = Path(source)
    return parse(read_text(path), str(path), path.parent)


def parse(text: str, file: str = "<cfg>", folder: Path | None = None) -> list[Section]:
    """Split the text of a cfg into its sections.

    Args:
        text: the text.
        file: name of the file, for messages.
        folder: see `Section`.

    Raises:
        CfgError: there is no section, or an option before the first section.
    """
    sections: list[Section] = []
    name, line, options = "", 0, list[Option]()
    for number, content in _lines(text):
        if content.startswith("["):
            if name:
                sections.append(Section(name, tuple(options), line, file, folder))
            name, line, options = _section_name(content), number, []
        elif not name:
            raise CfgError(f"{file}:{number}: a section such as [net] must come before any option")
        else:
            options.append(_option(content, number))
    if not name:
        raise CfgError(f"{file}: no section in it; a network description begins with [net]")
    sections.append(Section(name, tuple(options), line, file, folder))
    return sections


def write(sections: Iterable[Section]) -> str:
    """Return the text of a cfg of these sections; reading it yields them again."""
    return "\n".join(
        "".join(f"{line}\n" for line in (f"[{section.name}]", *map(_line, section.options)))
        for section in sections
    )


def read_data(path: str | PathLike[str]) -> dict[str, str]:
    """Read a `.data` file: `key = value` lines without sections; the first of equal keys wins."""
    options: dict[str, str] = {}
    for number, content in _lines(read_text(Path(path))):
        option = _option(content, number)
        if option.value:
            options.setdefault(option.key, option.value)
    return options


def read_names(path: str | PathLike[str]) -> tuple[str, ...]:
    """Read a `.names` file: one class name per line, without the blank lines at the end.

    Names are printable: bytes that are no UTF-8, and control characters, become escapes.
    """
    names = [printable(line.strip()) for line in read_text(Path(path)).split("\n")]
    while names and not names[-1]:
        names.pop()
    return tuple(names)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text file that are not blank, with their line numbers from 1."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_text(
    path: Path, most: int = MAX_BYTES, kind: type[DarknetError] = CfgError, what: str = "a text"
) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with its mark at the start.

    Bytes that are not UTF-8 become surrogates. Lines may end with a carriage return, as on old
    Macs.

    Args:
        path: the file.
        most: the largest size in bytes.
        kind: class of the error.
        what: the kind of file, for messages.

    Raises:
        DarknetError: of class `kind`: the file cannot be read, is larger than `most`, or is
            binary.
    """
    raw = read_bytes(path, most, kind, what)
    if (found := known_kind(raw[:32])) is not None:
        raise kind(f"{path}: is {found}")
    if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):  # some editors on Windows write it
        return _with_line_feeds(raw.decode("utf-16", errors="replace"))
    if b"\0" in raw:
        raise kind(f"{path}: is a binary file, not {what}")
    return _with_line_feeds(raw.decode("utf-8-sig", errors="surrogateescape"))


def _with_line_feeds(text: str) -> str:
    return text if "\n" in text else text.replace("\r", "\n")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.translate(_BLANKS)
        if content and content[0] not in "#;":
            yield number, content


def _section_name(content: str) -> str:
    """`[net]` -> `net`; a header with anything after the bracket stays whole, hence unknown."""
    return content[1:-1] if content.endswith("]") and len(content) > 2 else content


def _option(content: str, line: int) -> Option:
    key, equals, value = content.partition("=")
    return Option(key, value if equals else None, line)


def _line(option: Option) -> str:
    return option.key if option.value is None else f"{option.key}={option.value}"
