"""One object of the package as Markdown: signature, docstring, tables of arguments and members."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import griffe
from griffe import (
    Attribute,
    Class,
    DocstringSection,
    DocstringSectionAdmonition,
    DocstringSectionAttributes,
    DocstringSectionExamples,
    DocstringSectionParameters,
    DocstringSectionRaises,
    DocstringSectionReturns,
    DocstringSectionText,
    DocstringSectionYields,
    Function,
    Parameter,
    ParameterKind,
)

__all__ = ["Documented", "entry_lines"]

Documented = Function | Class | Attribute
WIDTH = 96
"""Columns of a signature; a longer one has a parameter a line."""
LONGEST = 90
"""Characters of a constant; the value of a longer one is left out."""
STARS = {ParameterKind.var_positional: "*", ParameterKind.var_keyword: "**"}
KEYWORDS = (ParameterKind.keyword_only, ParameterKind.var_positional)


def entry_lines(name: str, item: Documented) -> Iterator[str]:
    """Yield the lines of an object under a heading that is `name`."""
    yield from (f"### {name}", "")
    if isinstance(item, Function):
        yield from function_lines(item)
    elif isinstance(item, Class):
        yield from class_lines(item)
    else:
        value = source(item.value)
        yield from code(f"{item.name} = {value}" if len(value) < LONGEST else item.name)
        yield from description(item).text


def function_lines(item: Function) -> Iterator[str]:
    labels = [f"@{each}" for each in ("classmethod", "staticmethod") if each in item.labels]
    parameters = [each for each in item.parameters if each.name not in ("self", "cls")]
    doc = description(item)
    yield from code(*labels, signature(item.name, parameters, item.returns))
    yield from doc.text
    if doc.arguments:
        rows = [argument_row(each, doc.arguments) for each in parameters]
        yield from table(("argument", "type", "default", "what it is"), rows)
    yield from doc.rest


def class_lines(item: Class) -> Iterator[str]:
    members, doc = members_of(item), description(item)
    attributes = [each for each in members if isinstance(each, Attribute)]
    properties = [each for each in attributes if "property" in each.labels]
    fields = [each for each in attributes if "property" not in each.labels]
    parameters = constructor(item, fields)
    yield from code(class_line(item), *([signature(item.name, parameters)] if parameters else []))
    yield from doc.text
    yield from table(("name", "type", "default", "what it is"), data_rows(parameters, fields, doc))
    rows = [field_row(each, doc.arguments) for each in properties]
    yield from table(("property", "type", "", "what it is"), rows)
    yield from doc.rest
    for each in members:
        if isinstance(each, Function):
            yield from (f"#### {item.name}.{each.name}".replace("__", r"\_\_"), "")
            yield from function_lines(each)


def data_rows(
    parameters: Sequence[Parameter], fields: Sequence[Attribute], doc: "Description"
) -> list[tuple[str, ...]]:
    """Return the rows of a class's arguments and fields; none if they only repeat its signature."""
    rows = {each.name: argument_row(each, doc.arguments) for each in parameters}
    more = {each.name: field_row(each, doc.arguments) for each in fields}
    rows = {
        name: more[name] if name in more and more[name][1] else row for name, row in rows.items()
    }
    extra = {name: row for name, row in more.items() if name not in rows and (row[1] or row[3])}
    repeats = not extra and not any(row[3] for row in rows.values())
    return [] if repeats else [*rows.values(), *extra.values()]


def class_line(item: Class) -> str:
    bases = ", ".join(str(base) for base in item.bases if not str(base).startswith("_"))
    return f"class {item.name}({bases})" if bases else f"class {item.name}"


def members_of(item: Class) -> list[griffe.Object | griffe.Alias]:
    """Return the public members of a class and of its private bases, in the source's order."""
    hidden = [base for base in reversed(item.mro()) if base.name.startswith("_")]
    members = {name: each for one in (*hidden, item) for name, each in one.members.items()}
    return [each for name, each in members.items() if not each.is_alias and is_shown(name, each)]


def is_shown(name: str, member: griffe.Object | griffe.Alias) -> bool:
    """Return whether a member is public, or an operator with a docstring."""
    operator = name.startswith("__") and name != "__init__" and member.has_docstring
    return operator or not name.startswith("_")


def constructor(item: Class, fields: Sequence[Attribute]) -> list[Parameter]:
    """Return the parameters of a class; [] for a layer, which the plan makes from a section."""
    if any(str(base).endswith("NamedTuple") for base in item.bases):
        kind = ParameterKind.positional_or_keyword
        return [
            Parameter(each.name, annotation=each.annotation, default=each.value, kind=kind)
            for each in fields
        ]
    if any(str(each.default).startswith("option(") for each in item.parameters):
        return []
    return [each for each in item.parameters if each.name != "self"]


def argument_row(item: Parameter, texts: dict[str, str]) -> tuple[str, ...]:
    """Return a row of a table: name, type, default, description."""
    name = stars(item) + item.name
    return f"`{name}`", quoted(item.annotation), quoted(item.default), texts.get(item.name, "")


def field_row(item: Attribute, texts: dict[str, str]) -> tuple[str, ...]:
    text = texts.get(item.name) or (item.docstring.value if item.docstring else "")
    value = item.value if "class-attribute" in item.labels else None
    return f"`{item.name}`", quoted(item.annotation), quoted(value), text


# ---- docstrings


class Description(NamedTuple):
    """A docstring in Markdown: its text, a text for each argument or field, and what follows."""

    text: list[str]
    arguments: dict[str, str]
    rest: list[str]


def description(item: griffe.Object) -> Description:
    """Return the docstring of an object, written in Google's style."""
    found = Description([], {}, [])
    for section in parsed(item):
        lines = found.rest if found.rest else found.text
        if isinstance(section, DocstringSectionText):
            lines += [*marked_examples(section.value), ""]
        elif isinstance(section, DocstringSectionParameters | DocstringSectionAttributes):
            found.arguments.update({each.name: each.description for each in section.value})
        elif isinstance(section, DocstringSectionAdmonition):
            # not one of Google's sections: `name: text` with more lines, indented
            text = f"{section.title or ''} {section.value.description}"
            lines += [f"{section.value.annotation}: {' '.join(text.split())}", ""]
        elif isinstance(section, DocstringSectionExamples):
            lines += ["Example:", *example_lines(section), ""]
        elif isinstance(section, DocstringSectionReturns | DocstringSectionYields):
            found.rest.extend(result_lines(item, section))
        elif isinstance(section, DocstringSectionRaises):
            found.rest.extend(["Raises:", "", *map(error_line, section.value), ""])
    return found


def parsed(item: griffe.Object) -> list[DocstringSection]:
    if item.docstring is None:
        return []
    return griffe.parse_google(
        item.docstring,
        returns_multiple_items=False,
        returns_named_value=False,
        warnings=False,
    )


def marked_examples(text: str) -> list[str]:
    """Return the lines of a text; prompts of Python stand in a block of code."""
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        is_session = paragraph.lstrip().startswith(">>>")
        lines += [*(["```pycon", paragraph, "```"] if is_session else [paragraph]), ""]
    return lines[:-1]


def example_lines(section: DocstringSectionExamples) -> Iterator[str]:
    for kind, text in section.value:
        is_session = kind is griffe.DocstringSectionKind.examples
        yield from ("", *(["```pycon", text, "```"] if is_session else [text]))


def result_lines(
    item: griffe.Object, section: DocstringSectionReturns | DocstringSectionYields
) -> list[str]:
    """Return what a function gives; where the text has a colon, griffe took it for a type."""
    word = "Returns" if isinstance(section, DocstringSectionReturns) else "Yields"
    lines = []
    for each in section.value:
        declared = str(item.returns) if isinstance(item, Function) else ""
        given = "" if str(each.annotation) in declared else f"{each.annotation}: "
        lines += [f"{word}: {given}{' '.join(each.description.split())}", ""]
    return lines


def error_line(item: griffe.DocstringRaise) -> str:
    return f"- `{item.annotation}`: {' '.join(item.description.split())}"


# ---- Markdown


def signature(name: str, parameters: Sequence[Parameter], returns: object = None) -> str:
    """Return a signature as Python writes it, on one line or with a line for each parameter."""
    parts, before = [], ParameterKind.positional_or_keyword
    for each in parameters:
        if before is not each.kind and before is ParameterKind.positional_only:
            parts.append("/")
        if each.kind is ParameterKind.keyword_only and before not in KEYWORDS:
            parts.append("*")
        before = each.kind or before
        parts.append(parameter_text(each))
    if before is ParameterKind.positional_only:
        parts.append("/")
    result = "" if returns is None else f" -> {source(returns)}"
    line = f"{name}({', '.join(parts)}){result}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){result}"])


def stars(item: Parameter) -> str:
    return "" if item.kind is None else STARS.get(item.kind, "")


def parameter_text(item: Parameter) -> str:
    text = stars(item) + item.name
    if item.annotation is not None:
        text += f": {source(item.annotation)}"
    if item.default is not None and not stars(item):
        default = source(item.default)
        text += f" = {default}" if item.annotation is not None else f"={default}"
    return text


def code(*lines: str) -> list[str]:
    return ["```python", *lines, "```", ""]


def quoted(value: object) -> str:
    return "" if value is None else f"`{source(value)}`"


def source(value: object) -> str:
    """Return an expression with the quotes that ruff would give it, here and in Markdown."""
    return re.sub(r"'([^'\"\\]*)'", r'"\1"', str(value))


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table, without the columns in which no row has anything."""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    kept = [number for number in range(len(titles)) if any(row[number] for row in cells)]
    if not kept:
        return []
    lines = [[titles[n] for n in kept], ["---"] * len(kept), *([r[n] for n in kept] for r in cells)]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]
