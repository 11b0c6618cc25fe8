"""Options of the command, made from the parameters of the functions that it calls.

The name, type, choices, default and help of an option are those of a keyword argument: its
annotation, its default, its paragraph under `Args:`. A function is read as text and not imported,
so that the help need not wait for torch.
"""

import argparse
import ast
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["Parameter", "add_parameters", "given", "parameters_of"]


@dataclass(frozen=True)
class Parameter:
    """A keyword argument of a function.

    types: names in its annotation, such as "float", without None; words: those of its Literals.
    """

    name: str
    types: tuple[str, ...]
    words: tuple[str, ...]
    default: object
    help: str

    @property
    def is_flag(self) -> bool:
        """Whether it is a bool and nothing else."""
        return self.types == ("bool",) and not self.words


def parameters_of(module: str, function: str) -> dict[str, Parameter]:
    """Return the keyword arguments of a function of a module, by name, in their order."""
    node = _function(module, function)
    texts = _paragraphs(ast.get_docstring(node) or "")
    pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    return {
        argument.arg: _parameter(argument, default, texts.get(argument.arg, ""))
        for argument, default in pairs
    }


@cache
def _function(module: str, function: str) -> ast.FunctionDef:
    tree = ast.parse(_source(module).read_text(encoding="utf-8"))
    nodes = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return next(node for node in nodes if node.name == function)


def _source(module: str) -> Path:
    """Return a module's file; the packages around it, but for the first, are not imported."""
    top, *inside = module.split(".")
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    return (
        Path(spec.origin).parent.joinpath(*inside).with_suffix(".py")
        if inside
        else Path(spec.origin)
    )


def _parameter(argument: ast.arg, default: ast.expr | None, text: str) -> Parameter:
    types, words = list[str](), list[str]()
    for part in _union(argument.annotation):
        if isinstance(part, ast.Subscript) and ast.unparse(part.value) == "Literal":
            words += map(str, ast.literal_eval(ast.Tuple(_items(part.slice), ast.Load())))
        elif ast.unparse(part) != "None":
            types.append(ast.unparse(part))
    value = None if default is None else ast.literal_eval(default)
    return Parameter(argument.arg, tuple(types), tuple(words), value, text)


def _union(annotation: ast.expr | None) -> list[ast.expr]:
    """Return the members of `A | B | None`."""
    if isinstance(annotation, ast.BinOp):
        return [*_union(annotation.left), *_union(annotation.right)]
    return [] if annotation is None else [annotation]


def _items(index: ast.expr) -> list[ast.expr]:
    return index.elts if isinstance(index, ast.Tuple) else [index]


def _paragraphs(docstring: str) -> dict[str, str]:
    """Return the text of each argument under `Args:`, on one line."""
    part = re.search(r"^Args:\n((?: {4}.*\n?|\n)*)", inspect.cleandoc(docstring), re.MULTILINE)
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", part[1] if part else "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def add_parameters(
    parser: argparse.ArgumentParser,
    parameters: Mapping[str, Parameter],
    names: Iterable[str] | None = None,
    *,
    flags: Mapping[str, str] | None = None,
    negative: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Add an option for each parameter, `--max-det` for `max_det`.

    Args:
        parser: of the verb.
        parameters: see `parameters_of`.
        names: the parameters to add; None adds all.
        flags: parameter -> option, where it has another name.
        negative: parameter of type bool -> option that sets it to False, and its help.
    """
    for name in parameters if names is None else names:
        parameter = parameters[name]
        flag = (flags or {}).get(name, f"--{name.replace('_', '-')}")
        if parameter.is_flag:
            _add_flag(parser, parameter, flag, (negative or {}).get(name))
        else:
            _add_value(parser, parameter, flag)


def _add_flag(
    parser: argparse.ArgumentParser,
    parameter: Parameter,
    flag: str,
    negative: tuple[str, str] | None,
) -> None:
    """Add `--flag` unless it is True anyway, and the option for False, if there is one."""
    group = parser.add_mutually_exclusive_group()
    settings: dict[str, Any] = {"dest": parameter.name, "default": parameter.default}
    if parameter.default is not True:
        group.add_argument(flag, action="store_true", help=_help(parameter), **settings)
    if negative is not None:
        group.add_argument(negative[0], action="store_false", help=negative[1], **settings)


def _add_value(parser: argparse.ArgumentParser, parameter: Parameter, flag: str) -> None:
    only_words = parameter.words and set(parameter.types) <= {"bool"}
    metavar = next((text for kind, text in METAVARS.items() if kind in parameter.types), None)
    how: dict[str, Any] = (
        {"choices": parameter.words}
        if only_words
        else {"type": _converter(parameter), "metavar": metavar or flag.lstrip("-").upper()}
    )
    help_text, default = _help(parameter), parameter.default
    parser.add_argument(flag, dest=parameter.name, default=default, help=help_text, **how)


KINDS = {
    "int": "a whole number",
    "float": "a number",
    "Mapping[str, float]": "numbers, one for each class (person=.5,*=.25)",
    "Sequence[str | int]": "names or indices with commas between them",
}
METAVARS = {
    "Mapping[str, float]": "X|CLASS=X,...",
    "int": "N",
    "float": "X",
    "PathLike[str]": "PATH",
    "Sequence[int]": "N,N",
}


def _help(parameter: Parameter) -> str:
    """Return the help in the shell's words: what None stands for is the default."""
    text = re.sub(r"; None (?:is|keeps|detects) (.+?)\.?$", r" (default: \1)", parameter.help)
    default = parameter.default
    if default is not None and not isinstance(default, bool):
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        text += f" (default: {shown})"
    return text.rstrip(".").replace(". (default", " (default").replace("%", "%%")


def _converter(parameter: Parameter) -> Callable[[str], Any]:
    """Return what makes a value of an option's text."""
    known: dict[str, Callable[[str], Any]] = {
        "int": int,
        "float": float,
        "Mapping[str, float]": _number_or_numbers,
        "Sequence[int]": lambda text: [int(word) for word in text.split(",")],
        "Sequence[str]": lambda text: [word for word in text.split(",") if word],
        "Sequence[str | int]": _names_or_numbers,
    }
    convert = next((known[each] for each in reversed(parameter.types) if each in known), str)

    def converted(text: str) -> Any:
        try:
            return text if text in parameter.words else convert(text)
        except ValueError:
            kinds = [KINDS.get(each, "") for each in types]
            what = " or ".join((*filter(None, kinds), *parameter.words)) or "numbers"
            raise argparse.ArgumentTypeError(f"{text}: must be {what}") from None

    types = parameter.types
    return converted


def _number_or_numbers(text: str) -> float | dict[str, float]:
    """Return a number, or those of `person=.5,*=.25` by name; ValueError for something else."""
    if "=" not in text:
        return float(text)
    pairs = [word.rpartition("=") for word in text.split(",") if word]
    numbers = {name: float(value) for name, _, value in pairs}
    if "" in numbers or len(numbers) < len(pairs):
        raise ValueError(text)
    return numbers


def _names_or_numbers(text: str) -> list[str | int]:
    """Return the words between commas; ValueError for none, which would select nothing."""
    words = [word for word in text.split(",") if word]
    if not words:
        raise ValueError(text)
    return [int(word) if word.isdigit() else word for word in words]


def given(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Return the values of some options by parameter, for a call."""
    return {name: getattr(options, name) for name in names}
