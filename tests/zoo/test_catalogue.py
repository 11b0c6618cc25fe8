"""The zoo's list is right where cfgs and files are at hand, it is searched, and fetches by name."""

import hashlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import darknet_torch as dt
from darknet_torch import zoo
from darknet_torch.errors import DownloadError, UsageError
from darknet_torch.zoo.package_index import PackageFile

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
ENTRIES = [zoo.find_model(name) for name in zoo.list_models()]
BACKBONES = [zoo.find_backbone(name) for name in zoo.list_backbones()]
FILES = [zoo.find_file(name) for name in zoo.list_files()]
GITHUB = "https://github.com/AlexeyAB/darknet/releases/download/"


def test_lists() -> None:
    assert zoo.list_models("yolov4-p*") == ["yolov4-p5", "yolov4-p6"]
    assert zoo.list_models("nothing*") == []
    assert len(zoo.list_models()) == 55
    assert zoo.list_backbones("yolov4.*") == ["yolov4.conv.137"]
    assert "9k.tree" in zoo.list_files()


def test_model() -> None:
    model = zoo.find_model("yolov4-tiny")
    assert (model.cfg, model.names, model.dialect) == ("yolov4-tiny", "coco.names", "alexeyab")
    assert (model.width, model.height, model.bytes) == (416, 416, (24251276,))
    assert model.filename == "yolov4-tiny.weights"
    assert str(model.digest).startswith("sha256:cf9fbfd0")
    assert isinstance(model.sources[0], PackageFile)
    assert not model.sources[0].sdist
    assert f"{GITHUB}darknet_yolo_v4_pre/yolov4-tiny.weights" in model.sources
    assert zoo.find_model("yolov7").digest is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: zoo.find_model("yolov4tiny"), "did you mean yolov4-tiny?"),
        (lambda: zoo.find_model("?"), "no such model; `darknet-torch models` lists all"),
        (lambda: zoo.find_file("9k.trees"), "did you mean 9k.tree?"),
        (lambda: zoo.cached("yolov5"), "no such file"),
        (lambda: zoo.find_backbone("yolov4.conv.13"), "did you mean yolov4.conv.137?"),
        (lambda: zoo.search(["imgenet"]), "imgenet: no model fits; did you mean imagenet"),
        (lambda: zoo.search(["COCO", "kant"]), "each of the words fits others"),
        (lambda: zoo.search(["%"]), "%: no model fits; `darknet-torch models` lists all"),
    ],
)
def test_unknown_names(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        call()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("words", "some", "others"),
    [
        ("resnet", {"resnet18", "resnet152"}, {"resnext50", "yolov3"}),
        ("VOC", {"yolov1", "yolov3-voc", "yolov2-tiny-voc"}, {"yolov2"}),
        ("coco mish", {"yolov4", "yolov4-p6"}, {"yolov4-tiny", "csdarknet53-omega"}),
        ("classification", {"vgg-16", "darknet19"}, {"vgg-conv", "yolov4"}),
        ("Open Images", {"yolov3-openimages"}, {"yolov3"}),
        ("gpl", {"yolov7", "yolov7x"}, {"yolov4"}),
        ("conv.74", {"darknet53.conv.74"}, {"darknet53"}),
        ("shakespeare", {"shakespeare"}, {"kant"}),
    ],
)
def test_search(words: str, some: set[str], others: set[str]) -> None:
    found = zoo.search(words.split())
    assert some <= set(found)
    assert not others & set(found)


def test_names_fit_themselves() -> None:
    for entry in (*ENTRIES, *BACKBONES):
        assert entry.name in zoo.search([entry.name.upper()])


@pytest.mark.parametrize("entry", [*ENTRIES, *BACKBONES, *FILES], ids=lambda entry: entry.name)
def test_entry_is_well_formed(entry: zoo.RemoteFile) -> None:
    assert entry.sources or entry.published
    assert entry.published is None or entry.published.startswith("https://")
    assert entry.licence != "not stated"
    for source in entry.sources:
        if isinstance(source, PackageFile):
            assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", source.package)
        else:
            assert source.startswith("https://")
    assert entry.bytes == tuple(sorted(entry.bytes))
    assert entry.sha512 is None or re.fullmatch("[0-9a-f]{128}", entry.sha512)
    assert entry.sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.sha256)
    assert entry.sha1 is None or re.fullmatch("[0-9a-f]{40}", entry.sha1)
    assert (entry.digest is None) == (entry.digest_source is None)


@pytest.mark.parametrize("model", ENTRIES, ids=lambda model: model.name)
def test_model_is_complete(model: zoo.Model) -> None:
    assert (ROOT / "cfg" / f"{model.cfg}.cfg").is_file()
    if model.names is not None:
        assert model.names in model.files or (ROOT / "cfg" / model.names).is_file()
    assert model.task in ("detection", "classification", "features", "moves", "text")
    assert (model.names is None) == (model.task in ("features", "moves", "text"))
    assert set(model.files) <= set(zoo.list_files())
    assert model.dialect in ("pjreddie", "alexeyab")
    assert (model.accuracy is None) == (model.accuracy_source is None)


@cache
def floats(cfg: str, dialect: str) -> list[int]:
    """Return how many floats each layer of a cfg has in a weights file; nothing is allocated."""
    plan = dt.plan(cfg, dialect=dialect)
    return [sum(segment.count for segment in node.segments) for node in plan]


@pytest.mark.parametrize("model", ENTRIES, ids=lambda model: model.name)
def test_size_fits_the_cfg(model: zoo.Model) -> None:
    total = sum(floats(model.cfg, model.dialect))
    assert set(model.bytes) <= {4 * total + 16, 4 * total + 20}
    text = (ROOT / "cfg" / f"{model.cfg}.cfg").read_text()
    for key, value in (("width", model.width), ("height", model.height)):
        found = re.findall(rf"^{key}=(\d+)", text, re.MULTILINE)
        assert found == ([] if value is None else [str(value)])


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: backbone.name)
def test_size_fits_the_layers(backbone: zoo.Backbone) -> None:
    dialect = next(each.dialect for each in ENTRIES if each.cfg == backbone.cfg)
    total = sum(floats(backbone.cfg, dialect)[: backbone.layers])
    assert set(backbone.bytes) <= {4 * total + 16, 4 * total + 20}
    number = re.search(r"conv\.(\d+)$", backbone.name)
    assert number is None or int(number[1]) == backbone.layers


def test_page_of_the_models_is_current() -> None:
    """docs/models.md has each name with its size and its published accuracy."""
    page = (ROOT / "docs" / "models.md").read_text().splitlines()
    rows = {line.split("`")[1]: line for line in page if line.startswith("| `")}
    assert set(rows) == {entry.name for entry in (*ENTRIES, *BACKBONES)}
    for entry in (*ENTRIES, *BACKBONES):
        assert f" {entry.bytes[0] / 1e6:.1f} |" in rows[entry.name]
    for model in ENTRIES:
        assert f"| {model.data} | {model.accuracy or ''} |" in rows[model.name]


def test_sizes_that_others_wrote_down() -> None:
    """Downloads of the published files, as their logs and error messages name them."""
    known = {"yolov2-tiny": 44948600, "yolov1": 789312988, "darknet53.conv.74": 162482580}
    for name, size in known.items():
        entry = {each.name: each for each in (*ENTRIES, *BACKBONES)}[name]
        assert entry.bytes == (size,)


@pytest.mark.parametrize("name", ["coco.names", "voc.names", *zoo.list_files()])
def test_digest_fits_the_file(name: str) -> None:
    file = SHARED / "names" / name
    if not file.is_file():
        pytest.skip(f"no {file.name} beside the repository")
    content = file.read_bytes()
    if name in zoo.list_files():
        entry = zoo.find_file(name)
        assert entry.bytes == (len(content),)
        assert entry.sha256 == hashlib.sha256(content).hexdigest()
    else:
        assert (ROOT / "cfg" / name).read_bytes() == content


def test_class_names() -> None:
    coco, voc = (
        (ROOT / "cfg" / f"{each}.names").read_text().splitlines() for each in ("coco", "voc")
    )
    assert (len(coco), coco[0], coco[2], coco[79]) == (80, "person", "car", "toothbrush")
    assert (len(voc), voc[0], voc[19]) == (20, "aeroplane", "tvmonitor")
    assert set(voc) <= set(coco)


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"DARKNET_TORCH_CACHE": "/c"}, "/c"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/darknet_torch"),
        ("linux", {}, "/home/me/.cache/darknet_torch"),
        ("win32", {"LOCALAPPDATA": "/local", "XDG_CACHE_HOME": "/xdg"}, "/local/darknet_torch"),
        ("win32", {}, "/home/me/AppData/Local/darknet_torch"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "/home/me/Library/Caches/darknet_torch"),
    ],
)
def test_cache_dir(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    for each in ("DARKNET_TORCH_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(each, raising=False)
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("pathlib.Path.home", lambda: Path("/home/me"))
    assert zoo.cache_dir() == Path(expected)


@pytest.fixture
def offline_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and a machine without a way out."""
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(tmp_path))
    for each in ("PIP_INDEX_URL", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(each, "http://127.0.0.1:9")
    for each in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return tmp_path


def put(folder: Path, entry: zoo.RemoteFile, size: int) -> Path:
    path = folder / entry.filename
    with path.open("wb") as file:
        file.truncate(size)  # sparse: takes no room on the disk
    return path


def test_files_put_by_hand_are_taken(offline_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo.find_model("yolo9000")
    assert zoo.cached("yolo9000") is None
    for size in model.bytes:
        path = put(offline_cache, model, size)
        assert zoo.cached("yolo9000") == path
    for each in model.files:
        put(offline_cache, zoo.find_file(each), *zoo.find_file(each).bytes)
    assert zoo.cached("9k.tree") == offline_cache / "9k.tree"
    with pytest.raises(DownloadError, match="tree: cannot be fetched"):  # another checksum
        zoo.fetch_file("9k.tree")
    monkeypatch.setattr(zoo.RemoteFile, "digest", None)
    assert zoo.cached("9k.tree") == zoo.fetch_file("9k.tree")
    assert zoo.fetch("yolo9000") == path
    put(offline_cache, model, 1000)
    assert zoo.cached("yolo9000") is None


def test_files_that_no_program_can_fetch(offline_cache: Path) -> None:
    name = "csresnext50-panet-spp.conv.112"
    page = zoo.find_backbone(name).published
    with pytest.raises(DownloadError) as caught:
        zoo.fetch_file(name)
    assert str(caught.value) == (
        f"{name}: no address is known from which it can be fetched; put the file of 140311312 or"
        f" 140311316 bytes from {page} at {offline_cache / name} by hand"
    )
    path = put(offline_cache, zoo.find_backbone(name), 140311316)
    assert zoo.fetch_file(name) == zoo.cached(name) == path


@pytest.mark.parametrize("name", ["yolov3", "yolov3-tiny", "yolov4-tiny"])
def test_offline_says_what_to_do(offline_cache: Path, name: str) -> None:
    with pytest.raises(DownloadError) as caught:
        zoo.fetch(name)
    message = str(caught.value)
    assert "\n" not in message
    assert str(offline_cache / f"{name}.weights") in message
    assert f"{zoo.find_model(name).bytes[0]} bytes from https://" in message
    assert message.endswith("by hand, or pass --weights FILE")


def test_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['numpy'] = None;"
        "import darknet_torch.zoo.catalogue as zoo; zoo.find_model('yolov3')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
