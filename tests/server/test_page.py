"""The page in a browser without a window: a photo is dropped, sliders are moved, layers looked at.

Skipped where Debian's chromium, or Playwright, is not installed.
"""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_server import photo

import darknet_torch as dt
from darknet_torch.network import Network
from darknet_torch.server import running

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def address(
    small_network: Network, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[str]:
    """Where a server of a detector and a classifier is; the parameter is its API key."""
    import uvicorn

    addresses: list[str] = []
    servers: list[uvicorn.Server] = []
    run = uvicorn.Server.run

    def noted(self: uvicorn.Server, **settings: Any) -> None:
        servers.append(self)
        run(self, **settings)

    monkeypatch.setattr(uvicorn.Server, "run", noted)
    classifier = dt.build("[net]\nwidth=8\nheight=8\nchannels=3\n[connected]\noutput=5\n[softmax]")
    models = {"small": small_network, "classes": classifier}
    key = getattr(request, "param", None)
    settings = {"port": 0, "started": addresses.append, "api_key": key}
    thread = threading.Thread(target=running.serve, args=(models,), kwargs=settings)
    thread.start()
    end = time.monotonic() + 60
    while not addresses:
        assert time.monotonic() < end
        time.sleep(0.01)
    yield addresses[0]
    servers[0].should_exit = True
    thread.join(20)


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, which must ask nobody else, and raise no error."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("filechooser", lambda _: None)  # so that Chromium reports them from now on
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#layer-table tbody tr", state="attached")
    yield page
    assert asked
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not wrong
    page.close()


def choose(page: Any) -> None:
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": photo()})
    page.wait_for_selector("#boxes g")


def slide(page: Any, name: str, value: float) -> None:
    """Move a slider, and wait for the answer."""
    with page.expect_response(lambda response: "/images/" in response.url):
        page.locator(f"#{name}").fill(str(value))
    page.wait_for_timeout(50)


def shown(page: Any) -> list[tuple[str, ...]]:
    """The rows of the table of results."""
    rows = page.locator("#results tbody tr").all()
    return [tuple(row.locator("td").all_inner_texts()) for row in rows]


def wanted(network: Network, **settings: Any) -> list[tuple[str, ...]]:
    found = dt.detect(network, photo(), **settings)
    assert isinstance(found, dt.Detections)
    return [(d.name, f"{d.score:.2f}", *(f"{edge:.0f}" for edge in d.box)) for d in found]


def same(rows: list[tuple[str, ...]], others: list[tuple[str, ...]]) -> None:
    """Equal, but for halves that the two languages round to different sides."""
    assert [row[0] for row in rows] == [other[0] for other in others]
    for row, other in zip(rows, others, strict=True):
        numbers = [[float(word) for word in each[1:]] for each in (row, other)]
        assert numbers[0] == pytest.approx(numbers[1], abs=1)
        assert numbers[0][0] == pytest.approx(numbers[1][0], abs=0.011)


def test_sliders_show_what_detect_finds(page: Any, small_network: Network) -> None:
    choose(page)
    same(shown(page), wanted(small_network, threshold=0.25))
    counts = set()
    for threshold, nms in ((0.15, 0.45), (0.15, 0.1), (0.15, 0.0), (0.3, 0.0)):
        slide(page, "threshold", threshold)
        if float(page.locator("#nms").input_value()) != nms:
            slide(page, "nms", nms)
        rows = wanted(small_network, threshold=threshold, nms=nms)
        same(shown(page), rows)
        assert page.locator("#boxes g").count() == len(rows)
        assert page.locator("#count").inner_text().startswith(f"{len(rows)} detection")
        counts.add(len(rows))
    assert len(counts) > 2
    slide(page, "threshold", 0.15)
    page.click("#classes summary")
    with page.expect_response(lambda response: "classes=1" in response.url):
        page.check("#class-list input >> nth=1")
    page.wait_for_timeout(50)
    same(shown(page), wanted(small_network, threshold=0.15, nms=0.0, classes=["bee"]))


def test_a_photo_that_is_dropped_or_pasted(page: Any) -> None:
    for event, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """([event, holder, bytes]) => {
                const transfer = new DataTransfer();
                const file = new File([new Uint8Array(bytes)], event + ".png", {type: "image/png"});
                transfer.items.add(file);
                const kind = event === "drop" ? DragEvent : ClipboardEvent;
                document.body.dispatchEvent(
                    new kind(event, {[holder]: transfer, bubbles: true, cancelable: true}));
            }""",
            [event, holder, list(photo())],
        )
        playwright.expect(page.locator("#status")).to_contain_text(event)
        assert page.locator("#boxes g").count() > 0


def test_layers_and_their_maps(page: Any) -> None:
    page.click("#layers > summary")
    names = page.locator("#layer-table tbody button").all_inner_texts()
    assert names == ["0 convolutional", "1 convolutional", "2 yolo"]
    page.click("#layer-table button >> nth=0")
    assert page.locator("#status").inner_text() == "Choose a photo first."
    choose(page)
    page.click("#layer-table button >> nth=0")
    page.wait_for_selector("#maps:not([hidden])")
    assert page.locator("#maps-title").inner_text() == "Layer 0: channels 0 to 7 of 8"
    assert page.locator("#maps-picture").bounding_box()["height"] > 40


def test_downloads(page: Any, small_network: Network) -> None:
    choose(page)
    with page.expect_download() as download:
        page.click("#save-json")
    assert download.value.suggested_filename == "a.json"
    content = json.loads(Path(download.value.path()).read_text())
    found = dt.detect(small_network, photo(), threshold=0.25)
    assert isinstance(found, dt.Detections)
    assert content["detections"] == found.to_dict()["detections"]
    assert content["settings"]["threshold"] == "0.25"
    with page.expect_download() as download:
        page.click("#save-picture")
    assert Path(download.value.path()).read_bytes().startswith(b"\xff\xd8\xff")


def test_by_keyboard(page: Any, small_network: Network) -> None:
    """Tab reaches all, the file dialog opens by Enter, arrows move the sliders."""
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "model"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "choose"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": photo()})
    page.wait_for_selector("#boxes g")
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"another", "save-json", "save-picture", "threshold", "nms", "nms-kind"} < set(reached)
    page.focus("#threshold")
    with page.expect_response(lambda response: "threshold=0.24" in response.url):
        page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(50)
    same(shown(page), wanted(small_network, threshold=0.24))
    assert page.locator("#threshold-value").inner_text() == "0.24"


@pytest.mark.parametrize("address", ["secret"], indirect=True)
def test_a_key_is_asked_for(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    page.wait_for_selector("#status.wrong")
    page.locator("#key").fill("secret")
    page.keyboard.press("Enter")
    page.wait_for_selector("#layer-table tbody tr", state="attached")
    assert page.locator("#key-label").is_hidden()
    choose(page)
    page.close()


def test_another_model_and_errors(page: Any) -> None:
    choose(page)
    page.select_option("#model", "classes")
    playwright.expect(page.locator("#results tbody tr")).to_have_count(5)
    assert page.locator("#settings").is_hidden()
    assert page.locator("#boxes g").count() == 0
    page.select_option("#model", "small")
    page.wait_for_selector("#boxes g")
    page.set_input_files("#file", {"name": "b", "mimeType": "image/png", "buffer": b"none"})
    page.wait_for_selector("#status.wrong")
    assert "not an image" in page.locator("#status").inner_text()


@pytest.mark.parametrize("width", [390, 320])
def test_on_a_telephone(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    choose(page)
    page.click("#layers > summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("another", "save-json", "nms-kind", "model"):
        box = page.locator(f"#{name}").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["height"] >= 38
