"""The registry of layer types: section name -> class, filled by the decorator `layer`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar, dataclass_transform

from darknet_torch.errors import UsageError
from darknet_torch.layers.base import Layer
from darknet_torch.parsing.dialect import DIALECTS, Dialect
from darknet_torch.parsing.hints import section_hint
from darknet_torch.parsing.options import option
from darknet_torch.parsing.parser import Section

__all__ = ["find", "layer", "registered"]

T = TypeVar("T", bound="Layer")


class _Entry(NamedTuple):
    cls: type[Layer]
    only: Dialect | None


_registry: dict[str, list[_Entry]] = {}


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(option, field))
def layer(*names: str, only: Dialect | None = None) -> Callable[[type[T]], type[T]]:
    """Return a decorator that registers a class as the layer type of these sections.

    The class becomes a frozen dataclass.

    Args:
        *names: section names, without brackets.
        only: the fork (with its family) that has the section; None: all have it.

    Raises:
        UsageError: a name is already registered.
    """

    def register(cls: type[T]) -> type[T]:
        cls = dataclass(frozen=True, kw_only=True)(cls)
        for name in names:
            entries = _registry.setdefault(name, [])
            if any(entry.only in (None, only) or only is None for entry in entries):
                raise UsageError(f"[{name}] is already the layer type {entries[0].cls.__name__}")
            entries.append(_Entry(cls, only))
        return cls

    return register


def registered() -> dict[str, list[tuple[type[Layer], Dialect | None]]]:
    """Return the registered layer types by section name, each with the only fork that has it."""
    return {name: [(e.cls, e.only) for e in entries] for name, entries in _registry.items()}


def find(section: Section, dialect: Dialect) -> type[Layer]:
    """Return the layer type of a section.

    Raises:
        CfgError: the dialect has no such section; the message names a dialect that has it.
    """
    entries = _registry.get(section.name, [])
    for entry in entries:
        if dialect.knows(entry.only) and section.name not in dialect.lacks:
            return entry.cls
    raise section.error(_unknown_section(section.name, entries, dialect))


def _unknown_section(name: str, entries: list[_Entry], dialect: Dialect) -> str:
    forks = [
        d.name
        for d in DIALECTS.values()
        if any(d.knows(entry.only) for entry in entries) and name not in d.lacks
    ]
    if forks:
        return f"{dialect.name} has no such section; dialect {' or '.join(forks)} takes it"
    hint = section_hint(name, _registry)
    if not name.startswith("["):
        return f"unknown section{hint}"
    if "]" not in name:
        return f"the ] is missing{hint}"
    return f"nothing, not even a comment, may stand behind the ]{hint}"
