"""The options of a detector: checked, and brought from names to numbers."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from os import PathLike, fspath

from darknet_torch.errors import UsageError
from darknet_torch.heads.base import Head
from darknet_torch.network import Runnable

__all__ = [
    "check_counts",
    "check_fractions",
    "class_ids",
    "class_number",
    "mapped_heads",
    "names_of",
]


def names_of(classes: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of some classes; the index of a class without one."""
    return tuple(names[n] if n < len(names) else str(n) for n in classes)


def mapped_heads(network: Runnable, use_map: bool | str | PathLike[str]) -> tuple[Head, ...]:
    """Return the heads, with another class map if `use_map` names one."""
    heads = network.plan.head_layers
    if isinstance(use_map, bool):
        return heads
    folders = network.plan.context.folders
    return tuple(head.with_class_map(fspath(use_map), folders) for head in heads)


def check_fractions(**values: float | None) -> None:
    """Raise UsageError for a value that is not from 0 to 1; None is none."""
    for name, value in values.items():
        if value is not None and not 0 <= value <= 1:
            raise UsageError(f"{name}={value}: must be from 0 to 1")


def check_counts(**values: int | None) -> None:
    """Raise UsageError for a value below 1; None is none."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise UsageError(f"{name}={value}: must be at least 1")


def class_ids(
    classes: Sequence[str | int] | None, names: Sequence[str], count: int
) -> frozenset[int] | None:
    """Return the indices of some classes; None stays None.

    Args:
        classes: names or indices.
        names: of all classes.
        count: number of all classes.

    Raises:
        UsageError: the network has no such class.
    """
    if classes is None:
        return None
    numbers = {name: number for number, name in enumerate(names)}
    return frozenset(class_number(each, numbers, count, "classes") for each in classes)


def class_number(given: str | int, numbers: dict[str, int], count: int, option: str) -> int:
    """Return the index of a class.

    Args:
        given: its name or index.
        numbers: index of each name.
        count: number of all classes.
        option: for messages.

    Raises:
        UsageError: the network has no such class.
    """
    number = numbers.get(given, given) if isinstance(given, str) else given
    if isinstance(number, int) and 0 <= number < count:
        return number
    raise UsageError(f"{option}: {given!r} is no class of this network{_hint(given, numbers)}")


def _hint(given: str | int, names: Iterable[str]) -> str:
    known = list(names)
    near = get_close_matches(str(given), known, 1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; there are {', '.join(known[:10])} ..." if known else ""
