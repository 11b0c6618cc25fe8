"""Build the documentation as a site that can be searched, strictly; needs the extra `site`.

python tools/docs_site.py                  build into build/site
python -m http.server -d build/site        look at it, at http://127.0.0.1:8000

Its pages are README, the changelog, docs/ and the examples; docs/zensical.toml has the menu. A link
to what is not there, a page that is in no menu, or something that a browser would fetch from
another host makes the exit status 1.
"""

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from site_pages import ROOT, PageError, Pages

CONFIG, STYLE = "docs/zensical.toml", "docs/site.css"
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""Elements with what a browser fetches by itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="folder to write")
    options = parser.parse_args(arguments)
    try:
        problems = build(ROOT, options.out)
    except PageError as error:
        problems = [str(error)]
    for each in problems:
        print(each, file=sys.stderr)
    if not problems:
        print(f"{options.out}: {len(list(options.out.rglob('*.html')))} pages")
    return 1 if problems else 0


def build(root: Path, out: Path) -> list[str]:
    """Build the site of a checkout into a folder, which is replaced; return what is wrong with it.

    Raises:
        PageError: a page links to a file that is not there, or the extra `site` is not installed.
    """
    pages = Pages(root)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        stage(pages, project)
        problems = menu_problems(pages, (project / "zensical.toml").read_text(encoding="utf-8"))
        if problems:
            return problems
        generate(project)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(project / "site", out)
    return site_problems(out)


def stage(pages: Pages, project: Path) -> None:
    """Write the pages and the configuration, as Zensical wants them."""
    docs = project / "docs"
    for place, text in pages.texts.items():
        (docs / place).parent.mkdir(parents=True, exist_ok=True)
        (docs / place).write_text(text, encoding="utf-8")
    for place, path in pages.pictures.items():
        (docs / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, docs / place)
    shutil.copy(pages.root / CONFIG, project)
    shutil.copy(pages.root / STYLE, docs)


def generate(project: Path) -> None:
    if importlib.util.find_spec("zensical") is None:
        raise PageError('zensical: not installed; pip install -e ".[site]"')
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    if done.returncode:
        printed = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        raise PageError(printed.partition("Traceback")[0].strip() or printed)


# ---- what can be wrong


def menu_problems(pages: Pages, config: str) -> list[str]:
    """Return which pages stand in no menu, and which of the menu are not there."""
    named = list(menu_pages(tomllib.loads(config)["project"]["nav"]))
    wanted = pages.texts.keys() - pages.shown.keys()
    return [
        *(f"{CONFIG}: nav lacks {page}" for page in sorted(wanted - set(named))),
        *(f"{CONFIG}: nav has {page}, which is not there" for page in named if page not in wanted),
    ]


def menu_pages(menu: Any) -> Iterator[str]:
    if isinstance(menu, str):
        yield menu
    else:
        for each in menu.values() if isinstance(menu, dict) else menu:
            yield from menu_pages(each)


class PageReader(HTMLParser):
    """What a built page links to, what a browser fetches for it, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif LOADED.get(tag) in values and values.get("rel") != "canonical":
            self.loaded.append(values[LOADED[tag]])


def site_problems(site: Path) -> list[str]:
    """Return dead links, and what would be fetched from other hosts, of a built site."""
    readers = {path: PageReader(path.read_text()) for path in sorted(site.rglob("*.html"))}
    problems = []
    for path, reader in readers.items():
        page = path.relative_to(site)
        foreign = [link for link in reader.loaded if urlsplit(link).netloc]
        problems += [f"{page}: fetches {link}" for link in foreign]
        for link in (*reader.links, *reader.loaded):
            if path.name != "404.html" and not reachable(link, path, readers):
                problems.append(f"{page}: links to {link}, which is not there")
    for path in site.rglob("*.css"):
        for link in re.findall(r"(?:url\(|@import)\s*['\"]?(https?:[^'\")]+)", path.read_text()):
            problems.append(f"{path.relative_to(site)}: fetches {link}")
    return problems


def reachable(link: str, page: Path, readers: dict[Path, PageReader]) -> bool:
    """Return whether a link within the site leads to a file, and to an anchor of it."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    path = path / "index.html" if path.is_dir() else path
    if not path.is_file():
        return False
    anchor = unquote(parts.fragment)
    return not anchor or path not in readers or anchor in readers[path].anchors


if __name__ == "__main__":
    sys.exit(main())
