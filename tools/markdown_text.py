"""Markdown as text: what stands outside of blocks of code, headings and their anchors."""

import re
from collections.abc import Callable, Iterable, Iterator

__all__ = ["fenced", "headings", "outside_fences", "slug", "slugs_of"]

FENCE = re.compile(r"^(`{3,}).*?^\1`*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#+) (.*)$", re.MULTILINE)


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """Return the text with the parts changed that stand outside of fenced blocks of code."""
    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def headings(text: str) -> list[re.Match[str]]:
    """Return the headings outside of blocks of code: group 1 is `##`, group 2 the title."""
    fences = [range(*fence.span()) for fence in FENCE.finditer(text)]
    found = HEADING.finditer(text)
    return [match for match in found if not any(match.start() in fence for fence in fences)]


def fenced(code: str, language: str) -> str:
    """Return a block of code."""
    return f"````{language}\n{code.rstrip()}\n````\n"


def slug(title: str) -> str:
    """Return the anchor of a heading, as viewers of repositories make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def slugs_of(titles: Iterable[str]) -> Iterator[str]:
    """Yield the anchors of the headings of a page; equal ones are numbered."""
    counts: dict[str, int] = {}
    for title in titles:
        anchor = slug(title)
        number = counts.get(anchor, 0)
        counts[anchor] = number + 1
        yield f"{anchor}-{number}" if number else anchor
