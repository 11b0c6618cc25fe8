"""Write docs/api.md from the signatures and docstrings of the package, without importing it.

python tools/api_docs.py           write docs/api.md
python tools/api_docs.py --check   exit status 1 where docs/api.md is not what would be written
"""

import argparse
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import griffe
from api_entries import Documented, entry_lines
from griffe import Module
from markdown_text import slugs_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"
PACKAGE = "darknet_torch"
INTRODUCTION = """# The interface

Names, arguments, results and errors. `dt` is `import darknet_torch as dt`; of another name the part
before the last dot is a module of `darknet_torch`: `layers.Layer` is
`from darknet_torch.layers import Layer`. Boxes are `xyxy` (left, top, right, bottom) or `cxcywh`
(centre, width, height).

`tools/api_docs.py` writes this page from the docstrings; a test fails where it is out of date.
"""


@dataclass(frozen=True)
class Theme:
    """A section of the page: the public names of some modules, or of all modules of a folder."""

    title: str
    modules: tuple[str, ...]
    text: str = ""


THEMES = (
    Theme("Functions", ("",), "All are in `darknet_torch` itself."),
    Theme("Detections", ("inference.detections", "inference.detector"), "What `detect` returns."),
    Theme(
        "Videos",
        ("videos.detecting", "videos.frame", "videos.counting", "videos.writing"),
        "What `video` yields, and how it is written; see [video.md](video.md).",
    ),
    Theme("Server", ("server.running",), "Networks over HTTP; see [serve.md](serve.md)."),
    Theme("Classification", ("inference.classifier",), "What `classify` returns."),
    Theme("Networks", ("network", "network.plan"), "What `load` and `build` return."),
    Theme("Layers", ("layers",), "To write a layer type, see `docs/examples`."),
    Theme("Heads", ("heads",), "To write a head, see `docs/examples`."),
    Theme("Data sets", ("data", "data.anchors"), "See [data.md](data.md)."),
    Theme("Results of evaluate", ("evaluation",), "See [evaluate.md](evaluate.md)."),
    Theme("Metrics", ("metrics",), "What the figures of `evaluate` are computed with."),
    Theme("The text of a cfg, and the forks of Darknet", ("parsing.parser", "parsing.dialect")),
    Theme("Errors", ("errors",)),
)


SHOWN_FIRST = ("SAMPLE", "Calibration")
"""Public names that stand among the functions, as they belong to no other theme."""


@dataclass(frozen=True)
class Entry:
    """A documented object, and the name by which a program imports it."""

    name: str
    item: Documented


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where stale")
    options = parser.parse_args(arguments)
    text = page()
    if not options.check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE}: not what the docstrings say; tools/api_docs.py writes it", file=sys.stderr)
    return 1


def page() -> str:
    """Return the whole text of docs/api.md."""
    logging.getLogger("griffe").setLevel(logging.CRITICAL)
    package = griffe.load(
        PACKAGE, search_paths=[ROOT], allow_inspection=False, resolve_aliases=True
    )
    if not isinstance(package, Module):
        raise SystemExit(f"{PACKAGE}: no package in {ROOT}")
    chapters = list(themed_entries(package))
    headings = [each for theme, some in chapters for each in (theme.title, *(e.name for e in some))]
    slugs = slugs_of(headings)
    contents, body = ["## Contents", ""], []
    for theme, entries in chapters:
        linked = f"- [{theme.title}](#{next(slugs)}): "
        contents.append(linked + ", ".join(f"[`{e.name}`](#{next(slugs)})" for e in entries))
        body += [f"## {theme.title}", "", *([theme.text, ""] if theme.text else [])]
        body += [line for entry in entries for line in entry_lines(entry.name, entry.item)]
    lines = [*INTRODUCTION.splitlines(), "", *contents, "", *body]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


# ---- what is documented


def themed_entries(package: Module) -> Iterator[tuple[Theme, list[Entry]]]:
    """Yield the themes with their objects; an object stands in the first theme that has it."""
    public = {package[name].canonical_path: f"dt.{name}" for name in exports(package)}
    seen: set[str] = set()
    for theme in THEMES:
        entries = []
        for path, item in theme_objects(package, theme):
            elsewhere = not item.is_function and item.name not in SHOWN_FIRST
            if not (theme.modules == ("",) and elsewhere) and item.canonical_path not in seen:
                seen.add(item.canonical_path)
                entries.append(Entry(public.get(item.canonical_path, path), item))
        yield theme, entries


def theme_objects(package: Module, theme: Theme) -> Iterator[tuple[str, Documented]]:
    for path in theme.modules:
        try:
            module = package[path] if path else package
        except KeyError:
            raise SystemExit(f"{PACKAGE} has no module {path}; THEMES names it") from None
        for each in modules_of(module):
            for name in exports(each):
                item = each[name]
                target = item.final_target if item.is_alias else item
                if not target.is_module:
                    yield f"{each.path.removeprefix(PACKAGE + '.')}.{name}", target


def modules_of(module: Module) -> list[Module]:
    """Return the module, or the modules of a folder that hands nothing on by itself."""
    if exports(module):
        return [module]
    return [each for _, each in sorted(module.modules.items()) if not each.is_alias]


def exports(module: Module) -> list[str]:
    return [str(name) for name in module.exports or ()]


if __name__ == "__main__":
    sys.exit(main())
