"""The text of an option -> a value of the type that its field is annotated with.

Numbers are read as C's atoi and atof read them: the digits at the start count, whatever follows,
and a text that does not start with a number is 0.
"""

import re
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NewType, Union, get_args, get_origin

from darknet_torch.errors import CfgError, UsageError
from darknet_torch.files import is_file
from darknet_torch.parsing.c_numbers import atof, atoi
from darknet_torch.parsing.dialect import DIALECTS, Dialect
from darknet_torch.parsing.doubts import Doubts
from darknet_torch.parsing.hints import activation_hint, word_hint
from darknet_torch.parsing.parser import Option, Section

__all__ = ["Activation", "Context", "FileName", "Mode", "convert"]

Mode = Literal["strict", "normal", "darknet"]
LARGEST_FLOAT = 3.4028235e38
_DASHES = tuple("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d")


Activation = NewType("Activation", str)
"""The name of an activation that the dialect has."""


@dataclass(frozen=True)
class FileName:
    """A file that an option names; its path is resolved when it is needed.

    Attributes:
        name: the value of the option.
        option: the option's key.
        section: the section that has the option.
        extra_folders: search folders after the cfg's folder and the current one.
    """

    name: str
    option: str
    section: Section
    extra_folders: tuple[Path, ...] = ()

    def resolve(self) -> Path:
        """Return the path of the first candidate that exists.

        The search folders are the cfg's folder, the current folder, and then those of the package
        and of the cache. In each, the candidates are the name as it is and its last part.

        Raises:
            CfgError: none exists; the message lists the candidates.
        """
        candidates = self._candidates()
        for path in candidates:
            if is_file(path):
                return path
        option = self.section.option(self.option)
        listed = ", ".join(map(str, candidates))
        raise self.section.error(
            f"{self.option}={self.name}: no such file; looked for {listed}",
            line=option.line if option else None,
        )

    def _candidates(self) -> list[Path]:
        own = () if self.section.folder is None else (self.section.folder,)
        names = dict.fromkeys((Path(self.name), Path(Path(self.name).name)))
        folders = (*own, Path(), *self.extra_folders)
        return list(dict.fromkeys(folder / name for folder in folders for name in names))


@dataclass(frozen=True)
class Context:
    """How sections are read.

    Attributes:
        dialect: the fork of Darknet.
        mode: "strict" (unknown options are errors), "normal" (they are warnings) or "darknet"
            (an unknown activation or word is what Darknet takes it for).
        folders: extra search folders for the files that options name.
        doubts: collects what is doubtful, and knows what was told; None warns at once.
    """

    dialect: Dialect
    mode: Mode = "normal"
    folders: tuple[Path, ...] = ()
    doubts: Doubts | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise UsageError(f"mode {self.mode!r}: must be one of {', '.join(get_args(Mode))}")

    def doubt(self, section: Section, what: str, line: int | None = None) -> None:
        """Note something doubtful, or raise CfgError in mode "strict"; see `Doubts.add`."""
        if self.mode == "strict":
            raise section.error(what, line=line)
        doubts = self.doubts or Doubts()
        doubts.add(section, what, line)
        if doubts is not self.doubts:
            doubts.emit()


def convert(hint: Any, text: str, option: Option, section: Section, context: Context) -> Any:
    """Convert the text of an option to the type of its field.

    Args:
        hint: int, float, bool, str, Activation, FileName, a tuple of int or float, a Literal of
            words, or any of these `| None`.
        text: the option's value, without a comment that the dialect ends it at.
        option: for the line in messages.
        section: for messages, and for files.
        context: for the dialect's activations, and for the mode.

    Returns:
        The value; None where Darknet takes the default for an unknown word.

    Raises:
        CfgError: the dialect has no such activation or word, or a number is too large.
    """
    kind = _without_none(hint)
    if kind in _CONVERTERS:
        return _CONVERTERS[kind](text, option, section, context)
    return _word(kind, text, option, section, context)


def _without_none(hint: Any) -> Any:
    """`X | None` is read as X."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(arg for arg in get_args(hint) if arg is not type(None))
    return hint


def _integer(text: str, option: Option, section: Section, context: Context) -> int:
    value = atoi(text)
    _check_number(text, _ONLY_INTEGER, value, option, section, context)
    if not -(2**31) <= value < 2**31:
        raise _too_large(text, option, section)
    return value


def _real(text: str, option: Option, section: Section, context: Context) -> float:
    value = atof(text)
    _check_number(text, _ONLY_NUMBER, value, option, section, context)
    if abs(value) > LARGEST_FLOAT:
        raise _too_large(text, option, section)
    return value


_ONLY_INTEGER = re.compile(r"\s*[+-]?\d+(\.0*)?(?![\d.,eE])")
_ONLY_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(?![\d.,eE])")


def _check_number(
    text: str,
    pattern: re.Pattern[str],
    value: float,
    option: Option,
    section: Section,
    context: Context,
) -> None:
    """Doubt a text that C reads as a number, and people do not."""
    if pattern.match(text) or not text:  # behind the last comma of a list there may be nothing
        return
    if text.lstrip()[:1] in _DASHES:
        what = "begins with a typographic dash, which is no minus"
    elif text[0].isalpha():
        what = "is a word, not a number"
    else:
        what = "is not a number of this kind"
    context.doubt(section, f"{option.key}={option.value}: {what}; read as {value:g}", option.line)


def _too_large(text: str, option: Option, section: Section) -> CfgError:
    return section.error(f"{option.key}={text[:40]}: too large a number", line=option.line)


def _activation(text: str, option: Option, section: Section, context: Context) -> Activation:
    if text in context.dialect.activations:
        return Activation(text)
    if context.mode == "darknet":
        return Activation("relu")
    others = [d.name for d in DIALECTS.values() if text in d.activations]
    if others:
        hint = f"dialect {' or '.join(others)} knows it, {context.dialect.name} does not"
    else:
        hint = activation_hint(text, context.dialect.activations, DIALECTS)
    raise section.error(
        f'activation={text}: {hint} (Darknet computes relu then; mode="darknet" does too)',
        line=option.line,
    )


def _word(kind: Any, text: str, option: Option, section: Section, context: Context) -> str | None:
    """Convert to one of the words of a Literal."""
    words = get_args(kind)
    if text in words:
        return text
    if context.mode == "darknet":
        return None
    raise section.error(
        f"{option.key}={text}: must be one of {', '.join(words)}{word_hint(text, words)}",
        line=option.line,
    )


_CONVERTERS: dict[Any, Callable[[str, Option, Section, Context], Any]] = {
    int: _integer,
    float: _real,
    bool: lambda text, *rest: _integer(text, *rest) != 0,
    str: lambda text, *_: text,
    Activation: _activation,
    FileName: lambda text, option, section, context: FileName(
        text, option.key, section, context.folders
    ),
    tuple[int, ...]: lambda text, *rest: tuple(_integer(item, *rest) for item in text.split(",")),
    tuple[float, ...]: lambda text, *rest: tuple(_real(item, *rest) for item in text.split(",")),
}
