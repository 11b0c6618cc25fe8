"""From a section's text to a typed, frozen dataclass: the annotation of a field is its parser.

    size: int = option(1)
    stride_x: int = option(lambda layer: layer.stride, only=ALEXEYAB)
    anchors: tuple[float, ...] = option(())
    kind: Literal["iou", "giou"] = option("iou")

`values` converts the text, this file knows the dataclasses.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from typing import Any, TypeVar, cast, get_type_hints

from darknet_torch.parsing.dialect import Dialect
from darknet_torch.parsing.hints import option_hint
from darknet_torch.parsing.parser import Option, Section
from darknet_torch.parsing.values import Activation, Context, FileName, Mode, convert

__all__ = [
    "Activation",
    "Context",
    "FileName",
    "Mode",
    "bind",
    "check_value",
    "option",
    "option_names",
]

T = TypeVar("T")
_LONGEST = 60


def option(
    default: Any = MISSING,
    *,
    key: str | None = None,
    only: Dialect | None = None,
    absent: Any = MISSING,
    in_fork: Mapping[Dialect, Any] | None = None,
    check: Callable[[Any], bool] | None = None,
    expected: str = "",
    comment_ends: bool = False,
    count: Callable[[Any], int] | None = None,
    lacking: str = "",
    doubt: Callable[[Any], str] | None = None,
) -> Any:
    """Declare a dataclass field that is read from an option of a section.

    Args:
        default: the value where the option is missing, or a function of the fields before it.
        key: the option's key, where it is not the field's name.
        only: the fork (with its family) that has the option; in others the field is `absent`.
        absent: the value in forks that do not have the option; without it, `default`.
        in_fork: the default of forks where it is another one.
        check: returns whether a value is legal.
        expected: what a legal value is, for the error: "must be {expected}".
        comment_ends: a `#` ends the list in dialects that have such lists.
        count: of a list: returns from the other fields how many numbers it should have.
        lacking: what Darknet does about numbers that the list lacks, for the warning.
        doubt: returns from the fields what is doubtful about the value, for a warning; or nothing.
    """
    metadata = {
        "key": key,
        "only": only,
        "absent": absent,
        "in_fork": in_fork or {},
        "check": check,
        "expected": expected,
        "comment_ends": comment_ends,
        "count": count,
        "lacking": lacking,
        "doubt": doubt,
        "default": default,
    }
    return field(default=None if callable(default) else default, metadata=metadata)


def bind(cls: type[T], section: Section, context: Context, /, **given: Any) -> T:
    """Read the options of a section into a dataclass.

    An unknown option is a DarknetWarning, or an error in mode "strict".

    Args:
        cls: dataclass whose options are declared with `option`.
        section: the section.
        context: dialect, mode and search folders.
        **given: values of fields that are not options.

    Raises:
        CfgError: a value is not legal, or an option is unknown in mode "strict".
    """
    specs = _specs(cast(Any, cls))
    _check_keys(section, context, specs)
    values = _Values(given)
    for spec in specs.values():
        if spec.name not in given:
            values[spec.name] = spec.read(section, context, values)
    for spec in specs.values():
        spec.check_count(section, context, values)
        spec.check_doubt(section, context, values)
    return cls(**values)


def option_names(cls: type) -> dict[str, Dialect | None]:
    """Return the keys that a dataclass reads, each with the only fork that has it, if any."""
    return {key: spec.metadata["only"] for key, spec in _specs(cls).items()}


def check_value(cls: type, section: Section, key: str, context: Context) -> None:
    """Check the value of one option as mode "strict" does, whatever the mode.

    Args:
        cls: the dataclass that reads the option.
        section: that has the option.
        key: of the option.
        context: for the dialect.

    Raises:
        CfgError: the value is not legal, or C would read it as another number.
    """
    _specs(cls)[key].read(section, replace(context, mode="strict", doubts=None), _Values())


class _Values(dict[str, Any]):
    """The fields read so far, as attributes, for defaults that depend on them."""

    __getattr__ = dict.__getitem__


@dataclass(frozen=True)
class _Spec:
    """How one field is read."""

    name: str
    key: str
    hint: Any
    metadata: Mapping[str, Any]

    def read(self, section: Section, context: Context, values: _Values) -> Any:
        known = context.dialect.knows(self.metadata["only"])
        option = section.option(self.key) if known else None
        if option is None or option.value is None:
            return self._default(values, context.dialect)
        text = self._text(option.value, context.dialect)
        value = convert(self.hint, text, option, section, context)
        if value is None:
            return self._default(values, context.dialect)
        if isinstance(value, tuple) and self._has_gap(text):
            self._doubt(section, context, "nothing before or behind a comma, which is read as 0")
        check = self.metadata["check"]
        if check is not None and not check(value):
            expected = self.metadata["expected"]
            raise section.error(f"{self.key}={option.value}: must be {expected}", line=option.line)
        return value

    def check_count(self, section: Section, context: Context, values: _Values) -> None:
        """Doubt a list that has fewer numbers than it should."""
        count, found = self.metadata["count"], values[self.name]
        if count is None or (expected := count(values)) <= len(found):
            return
        what = f"{len(found)} numbers, {expected} expected; {self.metadata['lacking']}"
        self._doubt(section, context, what)

    def check_doubt(self, section: Section, context: Context, values: _Values) -> None:
        """Doubt a value that is legal, and hardly what is meant."""
        doubt = self.metadata["doubt"]
        if doubt is not None and (what := doubt(values)):
            self._doubt(section, context, what)

    def _has_gap(self, text: str) -> bool:
        """Whether a list has an empty entry; where its length is known, the last one is none."""
        items = text.split(",")
        return "" in (items[:-1] if self.metadata["count"] else items) and len(items) > 1

    def _doubt(self, section: Section, context: Context, what: str) -> None:
        option = section.option(self.key)
        given = "" if option is None or option.value is None else option.value
        given = given if len(given) <= _LONGEST else f"{given[:_LONGEST]}..."
        line = None if option is None else option.line
        context.doubt(section, f"{self.key}={given}: {what}", line)

    def _default(self, values: _Values, dialect: Dialect) -> Any:
        absent, default = self.metadata["absent"], self.metadata["default"]
        if absent is not MISSING and not dialect.knows(self.metadata["only"]):
            default = absent
        for fork, other in self.metadata["in_fork"].items():
            default = other if dialect.knows(fork) else default
        return default(values) if callable(default) else default

    def _text(self, value: str, dialect: Dialect) -> str:
        """The value without a comment, where the dialect knows comments there."""
        ends = dialect.comment_ends_list and self.metadata["comment_ends"]
        return value.partition("#")[0] if dialect.inline_comments or ends else value


@cache
def _specs(cls: Any) -> dict[str, _Spec]:
    """The fields of a dataclass that are options, by the option's key."""
    hints = get_type_hints(cls)
    specs = (
        _Spec(f.name, f.metadata["key"] or f.name, hints[f.name], f.metadata)
        for f in fields(cls)
        if "key" in f.metadata
    )
    return {spec.key: spec for spec in specs}


def _check_keys(section: Section, context: Context, specs: Mapping[str, _Spec]) -> None:
    """Warn of keys that are unknown or stand twice, or raise CfgError, as the context has it."""
    seen: set[str] = set()
    for option in section.options:
        if option.key in seen and option.value != "":
            _refuse_duplicate(section, context, option)
        elif problem := _unknown(option.key, context, specs):
            context.doubt(section, f"{option.key}: {problem}", option.line)
        elif not option.value:
            what = "no value behind it; as if the line were not there"
            context.doubt(section, f"{option.key}: {what}", option.line)
        if option.value != "":
            seen.add(option.key)


def _unknown(key: str, context: Context, specs: Mapping[str, _Spec]) -> str:
    if key not in specs:
        return f"unknown option{option_hint(key, specs)}"
    only = specs[key].metadata["only"]
    if not context.dialect.knows(only):
        return f"only {only.name} has this option, {context.dialect.name} ignores it"
    return ""


def _refuse_duplicate(section: Section, context: Context, option: Option) -> None:
    refused = not context.dialect.duplicate_keys
    rule = f"{context.dialect.name} refuses that" if refused else "the first one counts"
    what = f"{option.key}: stands here twice, {rule}"
    if refused:
        raise section.error(what, line=option.line)
    context.doubt(section, what, option.line)
