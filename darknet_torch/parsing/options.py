"""From a section's text to a typed, frozen dataclass: the annotation of a field is its parser.

    size: int = option(1)
    stride_x: int = option(lambda layer: layer.stride, only=ALEXEYAB)
    anchors: tuple[float, ...] = option(())
    kind: Literal["iou", "giou"] = option("iou")

Numbers are read as C's atoi and atof read them: what begins like a number counts up to where it
stops being one, and anything else is 0.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from darknet_torch.errors import UsageError, warn
from darknet_torch.files import is_file
from darknet_torch.parsing.c_numbers import atof, atoi
from darknet_torch.parsing.dialect import DIALECTS, Dialect
from darknet_torch.parsing.parser import Option, Section

__all__ = [
    "Activation",
    "Context",
    "FileName",
    "Mode",
    "atof",
    "atoi",
    "bind",
    "option",
    "option_names",
]

T = TypeVar("T")
Mode = Literal["strict", "normal", "darknet"]


class Activation(str):
    """The name of an activation that the dialect knows."""


@dataclass(frozen=True)
class FileName:
    """A file that an option names, looked for when it is needed."""

    name: str
    option: str
    section: Section
    extra_folders: tuple[Path, ...] = ()

    def find(self) -> Path:
        """Return the first place where the file is; CfgError lists the places tried.

        Looked for beside the cfg, in the current folder, then in the folders of the package and
        of the cache; in each under the name as it stands and without its folders.
        """
        beside = () if self.section.folder is None else (self.section.folder,)
        names = dict.fromkeys((Path(self.name), Path(Path(self.name).name)))
        tried = dict.fromkeys(
            folder / name for folder in (*beside, Path(), *self.extra_folders) for name in names
        )
        for place in tried:
            if is_file(place):
                return Path(place)
        listed = ", ".join(str(place) for place in tried)
        found = self.section.option(self.option)
        raise self.section.error(
            f"{self.option}={self.name}: no such file; looked for {listed}",
            line=found.line if found else None,
        )


@dataclass(frozen=True)
class Context:
    """What decides how a section is read: the fork, how strict to be, where files may lie."""

    dialect: Dialect
    mode: Mode = "normal"
    folders: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise UsageError(f"mode {self.mode!r}: must be one of {', '.join(get_args(Mode))}")


def option(
    default: Any = MISSING,
    *,
    key: str | None = None,
    only: Dialect | None = None,
    absent: Any = MISSING,
    in_fork: Mapping[Dialect, Any] | None = None,
    check: Callable[[Any], bool] | None = None,
    wanted: str = "",
    comment_ends: bool = False,
) -> Any:
    """Declare a field that is read from a section's option.

    default: the value where the option is missing; a function of the fields read so far.
    key: the option's name, where it is not the field's.
    only: the fork that knows it; in others the field is `absent` (else the default).
    in_fork: defaults of forks that have another one.
    check, wanted: what values are legal, as a function and in words for the error.
    comment_ends: the list ends at a `#` in dialects that do so.
    """
    metadata = {
        "key": key,
        "only": only,
        "absent": absent,
        "in_fork": in_fork or {},
        "check": check,
        "wanted": wanted,
        "comment_ends": comment_ends,
        "default": default,
    }
    return field(default=None if callable(default) else default, metadata=metadata)


def bind(cls: type[T], section: Section, context: Context, /, **given: Any) -> T:
    """Read the section's options into the dataclass; `given` fills fields that are no options.

    Raises CfgError for a value that is not legal, and for an unknown option in mode "strict";
    otherwise an unknown option is a DarknetWarning.
    """
    specs = _specs(cast(Any, cls))
    _complain_of_unknown(section, context, specs)
    values = _Values(given)
    for entry in specs.values():
        if entry.name not in given:
            values[entry.name] = entry.read(section, context, values)
    return cls(**values)


def option_names(cls: type) -> dict[str, Dialect | None]:
    """Return the options that a dataclass reads, each with the only fork that has it, if any."""
    return {key: spec.metadata["only"] for key, spec in _specs(cls).items()}


class _Values(dict[str, Any]):
    """The fields read so far, as attributes, for defaults that depend on them."""

    __getattr__ = dict.__getitem__


@dataclass(frozen=True)
class _Spec:
    """How one field is read."""

    name: str
    key: str
    kind: Any
    metadata: Mapping[str, Any]

    def read(self, section: Section, context: Context, values: _Values) -> Any:
        known = context.dialect.knows(self.metadata["only"])
        found = section.option(self.key) if known else None
        if found is None or found.value is None:
            return self._default(values, context.dialect)
        value = self._convert(found, section, context)
        if value is None:
            return self._default(values, context.dialect)
        check = self.metadata["check"]
        if check is not None and not check(value):
            wanted = self.metadata["wanted"]
            raise section.error(f"{self.key}={found.value}: must be {wanted}", line=found.line)
        return value

    def _default(self, values: _Values, dialect: Dialect) -> Any:
        absent, default = self.metadata["absent"], self.metadata["default"]
        if absent is not MISSING and not dialect.knows(self.metadata["only"]):
            default = absent
        for fork, other in self.metadata["in_fork"].items():
            default = other if dialect.knows(fork) else default
        return default(values) if callable(default) else default

    def _convert(self, found: Option, section: Section, context: Context) -> Any:
        text = found.value or ""
        dialect = context.dialect
        ends = dialect.comment_ends_list and self.metadata["comment_ends"]
        if dialect.inline_comments or ends:
            text = text.partition("#")[0]
        try:
            return _CONVERTERS[self.kind](text, found, section, context)
        except KeyError:
            return _word(self.kind, text, found, section, context)


@cache
def _specs(cls: Any) -> dict[str, _Spec]:
    """The fields of a dataclass that are options, by the option's name."""
    hints = get_type_hints(cls)
    specs = (
        _Spec(f.name, f.metadata["key"] or f.name, _kind(hints[f.name]), f.metadata)
        for f in fields(cls)
        if "key" in f.metadata
    )
    return {spec.key: spec for spec in specs}


def _kind(hint: Any) -> Any:
    """`X | None` is read as X."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(arg for arg in get_args(hint) if arg is not type(None))
    return hint


def _integer(text: str, found: Option, section: Section, context: Context) -> int:
    value = atoi(text)
    if not -(2**31) <= value < 2**31:
        raise section.error(f"{found.key}={text[:40]}: too large a number", line=found.line)
    return value


def _real(text: str, found: Option, section: Section, context: Context) -> float:
    value = atof(text)
    if abs(value) > 3.4028235e38:
        raise section.error(f"{found.key}={text[:40]}: too large a number", line=found.line)
    return value


def _activation(text: str, found: Option, section: Section, context: Context) -> Activation:
    if text in context.dialect.activations:
        return Activation(text)
    if context.mode == "darknet":
        return Activation("relu")
    elsewhere = [d.name for d in DIALECTS.values() if text in d.activations]
    if elsewhere:
        hint = f"dialect {' or '.join(elsewhere)} knows it, {context.dialect.name} does not"
    else:
        close = get_close_matches(text.partition("#")[0], context.dialect.activations, n=1)
        hint = "unknown" + (f"; did you mean {close[0]}?" if close else "")
    raise section.error(
        f'activation={text}: {hint} (Darknet computes relu then; mode="darknet" does too)',
        line=found.line,
    )


_CONVERTERS: dict[Any, Callable[[str, Option, Section, Context], Any]] = {
    int: _integer,
    float: _real,
    bool: lambda text, *rest: _integer(text, *rest) != 0,
    str: lambda text, *_: text,
    Activation: _activation,
    FileName: lambda text, found, section, context: FileName(
        text, found.key, section, context.folders
    ),
    tuple[int, ...]: lambda text, *rest: tuple(_integer(item, *rest) for item in text.split(",")),
    tuple[float, ...]: lambda text, *rest: tuple(_real(item, *rest) for item in text.split(",")),
}


def _word(kind: Any, text: str, found: Option, section: Section, context: Context) -> str | None:
    """One word of a Literal; None stands for the default, which Darknet takes for any other."""
    words = get_args(kind)
    if text in words:
        return text
    if context.mode == "darknet":
        return None
    close = get_close_matches(text, words, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise section.error(
        f"{found.key}={text}: must be one of {', '.join(words)}{hint}", line=found.line
    )


def _complain_of_unknown(section: Section, context: Context, specs: Mapping[str, _Spec]) -> None:
    seen: set[str] = set()
    for found in section.options:
        if found.key in seen:
            _complain_of_duplicate(section, context, found)
        elif problem := _unknown(found.key, context, specs):
            error = section.error(f"{found.key}: {problem}", line=found.line)
            if context.mode == "strict":
                raise error
            warn(str(error))
        seen.add(found.key)


def _unknown(key: str, context: Context, specs: Mapping[str, _Spec]) -> str:
    if key not in specs:
        close = get_close_matches(key, specs, n=1)
        return "unknown option" + (f"; did you mean {close[0]}?" if close else "")
    only = specs[key].metadata["only"]
    if not context.dialect.knows(only):
        return f"only {only.name} has this option, {context.dialect.name} ignores it"
    return ""


def _complain_of_duplicate(section: Section, context: Context, found: Option) -> None:
    refused = not context.dialect.duplicate_keys
    rule = f"{context.dialect.name} refuses that" if refused else "the first one counts"
    problem = section.error(f"{found.key}: stands here twice, {rule}", line=found.line)
    if refused:
        raise problem
    warn(str(problem))
