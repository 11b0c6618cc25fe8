"""Darknet's text files: .cfg <-> sections with line numbers, .data options and .names lists.

The grammar, as both C programs read it:

* every blank and tab is deleted, inside the line too (`[ net ]` is `[net]`, `wid th = 9` is
  `width=9`), and so is a carriage return;
* an empty line, or one that begins with `#` or `;`, is skipped; there are no inline comments: a
  number ends where its digits end, a word keeps everything;
* a line that begins with `[` opens a section, and the whole line is its name;
* anything else is an option, split at its first `=`. `key=` without a value is dropped; a line
  without `=` is kept without a value, which counts as absent but still hides later duplicates;
* the first of several equal keys wins.

What the words and numbers mean is the business of `options`, not of this file.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from darknet_torch.errors import CfgError, DarknetError
from darknet_torch.files import read_bytes

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
_BLANKS = str.maketrans("", "", " \t\r")


@dataclass(frozen=True)
class Option:
    """One `key=value` line; `value` is None where the line has no `=`."""

    key: str
    value: str | None
    line: int = 0


@dataclass(frozen=True)
class Section:
    """One `[name]` with its options in the order of the file.

    `file` is the file's name for messages, `folder` the place beside which the files that the
    options name are looked for (None for a text that came from no file).
    """

    name: str
    options: tuple[Option, ...] = ()
    line: int = 0
    file: str = "<cfg>"
    folder: Path | None = field(default=None, compare=False)

    def option(self, key: str) -> Option | None:
        """Return the first option of that key, as Darknet looks it up."""
        return next((option for option in self.options if option.key == key), None)

    def get(self, key: str, default: str | None = None) -> str | None:
        """Return the value of the first option of that key; `default` if absent or without `=`."""
        option = self.option(key)
        return default if option is None or option.value is None else option.value

    def error(
        self, what: str, *, line: int | None = None, kind: type[CfgError] = CfgError
    ) -> CfgError:
        """Return an error that says `file:line: [name]: what`.

        line: of the option that is wrong, with whose name `what` begins: `file:line: [name] what`.
        """
        return kind(f"{self.where(line)}{':' if line is None else ''} {what}")

    def where(self, line: int | None = None) -> str:
        """Return `file:line: [name]`."""
        return f"{self.file}:{self.line if line is None else line}: [{self.name}]"


def read(source: str | PathLike[str]) -> list[Section]:
    """Read a cfg from a path, or from a text (any string of more than one line).

    Raises CfgError for a file that is missing, too large, or no text; for a text without
    sections; and for options that stand before the first section.
    """
    if isinstance(source, str) and "\n" in source:
        return parse(source)
    path = Path(source)
    return parse(read_text(path), str(path), path.parent)


def parse(text: str, file: str = "<cfg>", folder: Path | None = None) -> list[Section]:
    """Split the text of a cfg into its sections."""
    sections: list[Section] = []
    name, line, options = "", 0, list[Option]()
    for number, content in _lines(text):
        if content.startswith("["):
            if name:
                sections.append(Section(name, tuple(options), line, file, folder))
            name, line, options = _section_name(content), number, []
        elif not name:
            raise CfgError(f"{file}:{number}: a section such as [net] must come before any option")
        elif (option := _option(content, number)) is not None:
            options.append(option)
    if not name:
        raise CfgError(f"{file}: no section in it; a network description begins with [net]")
    sections.append(Section(name, tuple(options), line, file, folder))
    return sections


def write(sections: Iterable[Section]) -> str:
    """Return the text of a cfg that reads back as these sections, comments and blanks aside."""
    return "\n".join(
        "".join(f"{line}\n" for line in (f"[{section.name}]", *map(_line, section.options)))
        for section in sections
    )


def read_data(path: str | PathLike[str]) -> dict[str, str]:
    """Read a `.data` file: `key = value` lines without sections, the first duplicate wins."""
    options: dict[str, str] = {}
    for number, content in _lines(read_text(Path(path))):
        option = _option(content, number)
        if option is not None and option.value is not None:
            options.setdefault(option.key, option.value)
    return options


def read_names(path: str | PathLike[str]) -> tuple[str, ...]:
    """Read a `.names` file: one class name a line, blank lines at the end ignored."""
    names = [line.strip() for line in read_text(Path(path)).split("\n")]
    while names and not names[-1]:
        names.pop()
    return tuple(names)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text file that are not blank, with their numbers."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_text(
    path: Path, most: int = MAX_BYTES, kind: type[DarknetError] = CfgError, what: str = "a text"
) -> str:
    """Return the text of a file; bytes that are no UTF-8 become surrogates.

    Raises `kind` if it cannot be read, has more than `most` bytes, or is binary.
    """
    raw = read_bytes(path, most, kind, what)
    if b"\0" in raw:
        raise kind(f"{path}: is a binary file, not {what}")
    return raw.decode("utf-8-sig", errors="surrogateescape")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.translate(_BLANKS)
        if content and content[0] not in "#;":
            yield number, content


def _section_name(content: str) -> str:
    """`[net]` -> `net`; a name with anything behind the bracket stays whole, hence unknown."""
    return content[1:-1] if content.endswith("]") and len(content) > 2 else content


def _option(content: str, line: int) -> Option | None:
    key, equals, value = content.partition("=")
    if equals and not value:
        return None
    return Option(key, value if equals else None, line)


def _line(option: Option) -> str:
    return option.key if option.value is None else f"{option.key}={option.value}"
