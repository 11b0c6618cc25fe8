"""The documentation as a site: its links, its menu, and its search in a browser."""

import importlib.util
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docs_site
import pytest
from site_pages import PageError, Pages, chapters

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium")
needs_zensical = pytest.mark.skipif(
    importlib.util.find_spec("zensical") is None, reason="zensical is not installed"
)
INTERFACE = """# The interface

## Contents

[`a.one`](#aone), [`A.one`](#aone-1)

## First part

### a.one

```python
# no heading
```

See [guide](guide.md#a-heading).

### A.one

## Second: part

### b.two
"""
FILES = {
    "README.md": "# Name\n\n[docs/guide.md](docs/guide.md), [code](pkg/code.py), [web](https://a.b)\n",
    "docs/api.md": INTERFACE,
    "docs/guide.md": "# The guide\n\n## A heading\n\n`[no](link.md)` [all](README.md#x)\n"
    "[up](../README.md), [name](api.md#aone-1), [picture](a.png)\n\n```text\n[no](link.md)\n```\n",
    "docs/README.md": "# All\n\n## X\n",
    "docs/a.png": "",
    "docs/examples/first_steps.py": '"""A script.\n\n    python it\n\nIt runs.\n"""\n\nimport os\n',
    "pkg/code.py": "x = 1\n",
}
MENU = ["index.md", "guide.md", "documentation.md", "examples/first_steps.md"]
MENU += ["api/index.md", "api/first-part.md", "api/second-part.md"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small repository with its documentation."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    shutil.copy(ROOT / "docs" / "sample-detections.jpg", tmp_path / "docs")
    return tmp_path


def test_links_of_the_repository_become_links_of_the_site(checkout: Path) -> None:
    pages = Pages(checkout)
    assert pages.texts["index.md"] == (
        "# Name\n\n[The guide](guide.md), [code](files/pkg/code.py.md), [web](https://a.b)\n"
    )
    assert "`[no](link.md)` [all](documentation.md#x)\n" in pages.texts["guide.md"]
    assert (
        "[up](index.md), [name](api/first-part.md#aone-1), [picture](a.png)"
        in (pages.texts["guide.md"])
    )
    assert "```text\n[no](link.md)\n```" in pages.texts["guide.md"]
    assert pages.pictures["a.png"] == checkout / "docs" / "a.png"
    assert "x = 1" in pages.texts["files/pkg/code.py.md"]


def test_the_interface_is_a_page_for_each_chapter(checkout: Path) -> None:
    pages = Pages(checkout)
    first = pages.texts["api/first-part.md"]
    assert first.startswith("# First part\n\n## a.one\n\n```python\n# no heading\n```\n")
    assert "[guide](../guide.md#a-heading)" in first
    assert "## A.one {#aone-1}" in first
    assert (
        "[`a.one`](first-part.md#aone), [`A.one`](first-part.md#aone-1)"
        in (pages.texts["api/index.md"])
    )
    assert [page for page, _ in chapters(INTERFACE)] == MENU[4:]


def test_a_script_is_a_page(checkout: Path) -> None:
    page = Pages(checkout).texts["examples/first_steps.md"]
    assert page.startswith("# A script\n\n    python it\n\nIt runs.\n\n![")
    assert page.endswith("## The script\n\n````python\nimport os\n````\n")


@pytest.mark.parametrize("link", ["missing.md", "../../outside.md", "missing.png"])
def test_a_link_to_what_is_not_there_is_an_error(checkout: Path, link: str) -> None:
    (checkout / "docs" / "guide.md").write_text(f"# The guide\n\n[x]({link})\n")
    with pytest.raises(PageError) as caught:
        Pages(checkout)
    assert str(caught.value) == f"docs/guide.md: links to {link}, which is not there"


def test_every_page_stands_in_the_menu(checkout: Path) -> None:
    pages = Pages(checkout)
    config = "[project]\nnav = [{ a = 'index.md' }, { b = [%s] }]"
    quoted = [f"'{page}'" for page in MENU[1:]]
    assert docs_site.menu_problems(pages, config % ", ".join(quoted)) == []
    assert docs_site.menu_problems(pages, config % ", ".join([*quoted[1:], "'gone.md'"])) == [
        "docs/zensical.toml: nav lacks guide.md",
        "docs/zensical.toml: nav has gone.md, which is not there",
    ]


def test_the_menu_of_this_repository() -> None:
    assert docs_site.menu_problems(Pages(ROOT), (ROOT / docs_site.CONFIG).read_text()) == []


def test_what_is_wrong_with_a_built_site(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here">1</a><a href="b/#there">2</a><a href="https://c.d">3</a></p>'
        '<a href="#gone">4</a><a href="gone.html">5</a><script src="https://c.d/e.js"></script>'
    )
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "index.html").write_text('<a name="there" href="../a.html#here">6</a>')
    (tmp_path / "a.css").write_text("p { background: url('https://c.d/e.png') }")
    assert docs_site.site_problems(tmp_path) == [
        "a.html: fetches https://c.d/e.js",
        "a.html: links to #gone, which is not there",
        "a.html: links to gone.html, which is not there",
        "a.css: fetches https://c.d/e.png",
    ]


@needs_zensical
def test_what_zensical_warns_of_is_an_error(checkout: Path, tmp_path: Path) -> None:
    nav = ", ".join(f"'{page}'" for page in MENU)
    (checkout / "docs" / "zensical.toml").write_text(f"[project]\nsite_name='a'\nnav=[{nav}]\n")
    (checkout / "docs" / "site.css").write_text("")
    text = (checkout / "docs" / "guide.md").read_text()
    (checkout / "docs" / "guide.md").write_text(f"{text}\n[x](README.md#no-such-heading)\n")
    with pytest.raises(PageError, match=r"#no-such-heading\)"):
        docs_site.build(checkout, tmp_path / "site")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of this repository."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    assert docs_site.build(ROOT, folder) == []
    return folder


class Handler(SimpleHTTPRequestHandler):
    """Serves files, and prints nothing."""

    def log_message(self, *args: Any) -> None:
        """Keep silent."""


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@needs_zensical
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [1280, 390])
def test_search_in_a_browser(address: str, browser: Any, width: int) -> None:
    """What is typed is found, its page opens, and nobody else is asked for anything."""
    page = browser.new_page(viewport={"width": width, "height": 844})
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator(".md-search__button:visible, label[for=__search]:visible").first.click()
    page.keyboard.type("thresholds of classes")
    page.locator("a:visible", has_text="Thresholds of classes").first.click()
    page.wait_for_url("**/detect.html*")
    assert page.locator("h1").inner_text().startswith("Detecting")
    page.close()
    assert len(requests) > 5
    assert not [url for url in requests if not url.startswith((address, "data:", "blob:"))]
    assert not errors
