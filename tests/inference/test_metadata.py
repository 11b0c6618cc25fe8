"""What converted files say of their network is read without running or unpickling anything."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from small_network import CFG

import darknet_torch as dt
from darknet_torch.errors import DarknetError, UsageError
from darknet_torch.exporters.verification import verify
from darknet_torch.inference.metadata import MAX_TEXT, read_origin
from darknet_torch.network import Network

TEXTS = {"cfg": CFG, "dialect": "alexeyab", "names": "ant\nbee", "contents": "raw"}


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.write_text, (self.path, "it ran")


@pytest.fixture
def trap(small_network: Network, tmp_path: Path) -> Path:
    """net.pt2, whose pickled sample inputs leave a file where this points to."""
    ran = tmp_path / "ran"
    dt.export(small_network, "net.pt2")
    with zipfile.ZipFile("net.pt2") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    sample = next(name for name in members if name.endswith("sample_inputs/model.pt"))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as inner:
        inner.writestr("archive/data.pkl", pickle.dumps(Trap(ran)))
        inner.writestr("archive/version", "3")
        inner.writestr("archive/byteorder", "little")
    with zipfile.ZipFile("net.pt2", "w") as archive:
        for name, old in members.items():
            archive.writestr(name, content.getvalue() if name == sample else old)
    return ran


def test_nothing_runs_without_trust(trap: Path, small_network: Network) -> None:
    origin = read_origin(Path("net.pt2"))
    assert (origin.names, origin.contents) == (("ant", "bee"), "raw")
    for load in (lambda: dt.load("net.pt2"), lambda: verify(small_network, "net.pt2")):
        with pytest.raises(UsageError, match=r"net\.pt2: is a program.*trusted=True") as error:
            load()
        assert "\n" not in str(error.value)
    assert not trap.exists()


def test_with_trust_it_runs(trap: Path) -> None:
    """Else the test above could not fail."""
    with suppress(DarknetError):
        dt.load("net.pt2", trusted=True)
    assert trap.read_text() == "it ran"


@pytest.mark.parametrize("name", ["net.pt2", "net.ts"])
def test_programs_of_ours(name: str, small_network: Network) -> None:
    dt.export(small_network, name)
    origin = read_origin(Path(name))
    assert origin.cfg == small_network.plan.text
    assert (origin.names, origin.dialect, origin.dtype) == (("ant", "bee"), "alexeyab", "float32")


def archive(path: Path, texts: dict[str, str | bytes], pack: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", pack) as file:
        for name, text in texts.items():
            file.writestr(name, text)
    return path


@pytest.mark.parametrize("folder", ["archive/extra", "extra_files", "net/extra"])
def test_where_versions_of_torch_keep_texts(folder: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "x.pt2", {f"{folder}/{key}": text for key, text in TEXTS.items()})
    assert read_origin(path).names == ("ant", "bee")


def test_a_package_of_aot_inductor(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.aoti.pt2", {"x/data/x.wrapper_metadata.json": json.dumps(TEXTS)})
    assert read_origin(path).names == ("ant", "bee")
    with pytest.raises(UsageError, match="is a program"):
        dt.load(path)


@pytest.mark.parametrize("name", ["x.pt2", "x.ts", "x.aoti.pt2"])
@pytest.mark.parametrize(
    ("content", "pack"),
    [
        (b"\xff", zipfile.ZIP_STORED),
        (b"[" * 100_000, zipfile.ZIP_STORED),
        (b"[1]", zipfile.ZIP_STORED),
        (b"0" * (MAX_TEXT + 1), zipfile.ZIP_DEFLATED),
        (b"{}", zipfile.ZIP_LZMA),
        (b"{}", zipfile.ZIP_BZIP2),
    ],
)
def test_damaged_and_hostile_texts(name: str, content: bytes, pack: int, tmp_path: Path) -> None:
    texts = {"a/extra/cfg": content, "a/x_metadata.json": content, "a/extra/dialect": b"alexeyab"}
    path = archive(tmp_path / name, texts, pack)  # type: ignore[arg-type]
    with pytest.raises(DarknetError) as error:
        dt.load(path, trusted=True)
    assert str(error.value).startswith(f"{path}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["x.pt2", "x.ts", "x.aoti.pt2", "x.onnx", "x.xml"])
@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"x" * 100, b"\x08\xff" * 40])
def test_files_that_are_something_else(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DarknetError) as error:
        dt.load(tmp_path / name, trusted=True)
    assert "\n" not in str(error.value)
