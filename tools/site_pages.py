"""The pages of the site: Markdown, examples and the interface, with links that fit."""

import ast
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from markdown_text import fenced, headings, outside_fences, slug, slugs_of

__all__ = ["ROOT", "PageError", "Pages"]

ROOT = Path(__file__).resolve().parents[1]
INTERFACE = "docs/api.md"
NAMED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "cfg/sample.md": "sample.md",
    "docs/README.md": "documentation.md",
    "docs/integrations/README.md": "integrations/index.md",
    INTERFACE: "api/index.md",
}
"""Files of the repository whose pages have another name or place."""
PICTURES = {
    "first_steps": "![the boxes that were drawn](../sample-detections.jpg)",
    "convert_for_opencv5": "![the objects and their boxes](../sample-detections.jpg)",
    "train_own_data": "![images of a batch, augmented](../train-batch-0.jpg)",
}
"""Pictures of the examples."""
LINK = re.compile(r"(?P<code>`[^`\n]*`)|(?P<text>!?\[(?:[^][]|\[[^][]*\])*\])\((?P<to>[^()\s]+)\)")


class PageError(Exception):
    """A page cannot be made: it links to what is not there."""


@dataclass
class Pages:
    """The pages of a site, by their path in it, made from a checkout.

    Attributes:
        root: the checkout.
        texts: path of a page in the site -> its Markdown.
        pictures: path in the site -> the file to copy there.
        shown: path of a page -> the file or folder of the repository that it shows because some
            page links to it; such pages stand in no menu.
    """

    root: Path = ROOT
    texts: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Path] = field(default_factory=dict)
    shown: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.root.resolve()
        self.places = {name: place for name, place in NAMED.items() if (self.root / name).is_file()}
        docs = self.root / "docs"
        for path in sorted([*docs.rglob("*.md"), *docs.glob("examples/*.py")]):
            name = self.relative(path)
            self.places.setdefault(name, f"{name.removeprefix('docs/').rpartition('.')[0]}.md")
        for path in sorted(docs.glob("examples/*.ipynb")):
            self.places[self.relative(path)] = f"examples/{path.stem}_notebook.md"
        interface = list(chapters((self.root / INTERFACE).read_text(encoding="utf-8")))
        self.anchors = {anchor: page for page, text in interface for anchor in anchors_of(text)}
        for name, place in self.places.items():
            if name != INTERFACE:
                self.texts[place] = self.linked(markdown(self.root / name), name, place)
        for place, text in interface:
            self.texts[place] = self.linked(text, INTERFACE, place)

    def relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def linked(self, text: str, name: str, place: str) -> str:
        """Return the text of a file, with the links of its page at `place`."""

        def link(match: re.Match[str]) -> str:
            if match["code"] or re.match(r"[a-z]+:", match["to"]):
                return match[0]
            text, to = match["text"], self.target(match["to"], name, place)
            if text.endswith(".md]"):  # a file of the repository, but a page of the site
                text = f"[{self.title(match['to'], name)}]"
            return f"{text}({to})"

        return outside_fences(text, lambda part: LINK.sub(link, part))

    def target(self, link: str, name: str, place: str) -> str:
        """Return what a link in the file `name` is in its page at `place`."""
        to, _, anchor = link.partition("#")
        path = Path(os.path.normpath(self.root / name / ".." / to)) if to else self.root / name
        if not path.exists() or not path.is_relative_to(self.root):
            raise PageError(f"{name}: links to {link}, which is not there")
        found = self.place_of(path, anchor)
        suffix = f"#{anchor}" if anchor else ""
        return suffix if found == place and anchor else f"{from_to(place, found)}{suffix}"

    def title(self, link: str, name: str) -> str:
        """Return the title of the page that a link in the file `name` leads to."""
        text = (self.root / name / ".." / link.partition("#")[0]).resolve().read_text("utf-8")
        return headings(text)[0][2]

    def place_of(self, path: Path, anchor: str) -> str:
        """Return where the site has a file of the repository; what it lacks is added."""
        name = self.relative(path)
        if name == INTERFACE and anchor:
            return self.anchors.get(anchor, "api/index.md")
        if name in self.places:
            return self.places[name]
        if path.suffix in (".jpg", ".png"):
            place = name.removeprefix("docs/")
            self.pictures[place] = path
        else:
            place = f"files/{name}.md"
            self.shown[place] = path
            self.texts[place] = shown(path, name)
        return place


def from_to(page: str, other: str) -> str:
    """Return the relative link from a page to another."""
    return os.path.relpath(other, PurePosixPath(page).parent)


# ---- files that are no Markdown


def markdown(path: Path) -> str:
    """Return a file as Markdown: scripts and notebooks become pages."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return script(path, text)
    return notebook(path, text) if path.suffix == ".ipynb" else text


def script(path: Path, text: str) -> str:
    """Return a page of a script: its docstring, its picture, its code."""
    docstring = ast.get_docstring(ast.parse(text)) or path.name
    title, _, description = docstring.partition("\n")
    code = text[text.index('"""', 3) + 3 :].lstrip()
    return (
        f"# {title.rstrip('.')}\n\n{description.strip(chr(10))}\n\n"
        f"{PICTURES.get(path.stem, '')}\n\n## The script\n\n{fenced(code, 'python')}"
    )


def notebook(path: Path, text: str) -> str:
    """Return the cells of a notebook as Markdown; its picture stands below the first output."""
    parts, pictures = [], [PICTURES[path.stem]] if path.stem in PICTURES else []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else fenced(source, "python"))
        for output in cell.get("outputs", ()):
            printed = output.get("text") or output.get("data", {}).get("text/plain") or ()
            parts += [fenced("".join(printed), "text"), *pictures] if printed else []
            pictures = []
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def shown(path: Path, name: str) -> str:
    """Return a page that shows a file of the repository, or names the files of a folder."""
    if path.is_dir():
        return f"# {name}\n\n" + "".join(f"- `{each.name}`\n" for each in sorted(path.iterdir()))
    language = {".py": "python", ".yaml": "yaml"}.get(path.suffix, "text")
    return f"# {name}\n\n{fenced(path.read_text(encoding='utf-8'), language)}"


# ---- the interface: a long page in the repository, one for each chapter in the site


def chapters(text: str) -> Iterator[tuple[str, str]]:
    """Yield the pages of docs/api.md: its beginning with the contents, then each chapter."""
    text = with_numbered_anchors(text)
    starts = [match.start() for match in headings(text) if match[1] == "##"][1:]
    yield "api/index.md", text[: starts[0]]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        chapter = text[start:end]
        raised = outside_fences(chapter, lambda part: re.sub("^##", "#", part, flags=re.MULTILINE))
        yield f"api/{slug(headings(chapter)[0][2])}.md", raised


def with_numbered_anchors(text: str) -> str:
    """Return the text with the anchors of equal headings spelled out, as pages number their own."""
    found = headings(text)
    anchors = list(slugs_of(match[2] for match in found))
    for match, anchor in reversed(list(zip(found, anchors, strict=True))):
        if anchor != slug(match[2]):
            text = f"{text[: match.end()]} {{#{anchor}}}{text[match.end() :]}"
    return text


def anchors_of(chapter: str) -> Iterator[str]:
    for match in headings(chapter):
        title, _, anchor = match[2].partition(" {#")
        yield anchor.rstrip("}") or slug(title)
