"""What is doubtful in a cfg: each kind is one warning, with the lines that it stands for.

Networks that are made from a network, with other classes or options, have the doubts of its cfg.
They are told once.
"""

from dataclasses import dataclass, field

from darknet_torch.errors import warn
from darknet_torch.parsing.parser import Section

__all__ = ["Doubts"]

_MOST_LINES = 10


@dataclass
class Doubts:
    """Doubts about options, collected while a cfg is read, and told once at its end."""

    _lines: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    _first: dict[tuple[str, str], str] = field(default_factory=dict)
    _told: set[tuple[str, str]] = field(default_factory=set)

    def add(self, section: Section, what: str, line: int | None = None) -> None:
        """Note a doubt.

        Args:
            section: that has the option.
            what: begins with the option's key; equal ones of a file are one kind.
            line: of the option; None is that of the section.
        """
        kind = (section.file, what)
        if kind in self._told:
            return
        self._first.setdefault(kind, str(section.error(what, line=line)))
        self._lines.setdefault(kind, []).append(section.line if line is None else line)

    def emit(self) -> None:
        """Emit a warning for each kind that was not told before."""
        for kind, first in self._first.items():
            others = list(dict.fromkeys(self._lines[kind]))[1:]
            more = ", ".join(map(str, others[:_MOST_LINES]))
            if others[_MOST_LINES:]:
                more += f" and {len(others) - _MOST_LINES} more"
            lines = "lines" if others[1:] else "line"
            warn(f"{first} (so too {lines} {more})" if others else first)
        self._told.update(self._first)
        self._first.clear()
        self._lines.clear()
