"""Weights inside packages: fetched as archives, opened with suspicion, never run."""

import gzip
import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from webserver import CONTENT, DIGEST, Server, left_in, serve  # noqa: F401

from darknet_torch.errors import DownloadError
from darknet_torch.zoo import package_index
from darknet_torch.zoo.download import FileSource, download
from darknet_torch.zoo.package_index import PackageFile, extract

NAME = "tinyzoo"
METADATA = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n".encode()


def wheel(folder: Path, member: str, content: bytes) -> None:
    info = f"{NAME}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{NAME}-1.0-py3-none-any.whl", "w") as file:
        file.writestr(member, content)
        file.writestr(f"{info}/METADATA", METADATA)
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")


def sdist(members: dict[str, bytes | None]) -> bytes:
    """A source archive; a member without content is a link to /etc/hostname."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
            info.size = len(content or b"")
            file.addfile(info, io.BytesIO(content or b""))
    return stream.getvalue()


@pytest.fixture
def pip_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def index(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
    return server


def offer(index: Server, archive: bytes, digest: str | None = None) -> None:
    name = f"{NAME}-1.0.tar.gz"
    digest = digest or hashlib.sha256(archive).hexdigest()
    links = (f"<a href='../../files/{each}'>x</a>" for each in ("other", f"{name}#sha256={digest}"))
    index.pages[f"/simple/{NAME}/"] = "".join(links).encode()
    index.pages[f"/files/{name}"] = archive


def get_packed(source: FileSource, tmp_path: Path, size: int = len(CONTENT)) -> Path:
    return download([source], tmp_path / "cache" / "x", size=size, digest=DIGEST)


def test_wheel(pip_folder: Path, tmp_path: Path) -> None:
    wheel(pip_folder, "tinyzoo/x.weights", CONTENT)
    source = PackageFile(f"{NAME}==1.0", "tinyzoo/x.weights")
    assert get_packed(source, tmp_path).read_bytes() == CONTENT
    assert left_in(tmp_path / "cache") == {"x"}


def test_wheel_is_not_there(pip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"package tinyzoo==1\.0: pip: .*No matching"):
        get_packed(PackageFile(f"{NAME}==1.0", "x"), tmp_path)


def test_sdist_runs_no_code(index: Server, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    setup = f"open({str(trap)!r}, 'w')\nfrom setuptools import setup\nsetup()\n".encode()
    offer(index, sdist({f"{NAME}-1.0/setup.py": setup, f"{NAME}-1.0/x.weights": CONTENT}))
    source = PackageFile(f"{NAME}==1.0", f"{NAME}-1.0/x.weights", sdist=True)
    assert get_packed(source, tmp_path).read_bytes() == CONTENT
    assert not trap.exists()


def test_sdist_that_the_index_does_not_promise(index: Server, tmp_path: Path) -> None:
    offer(index, sdist({"x": CONTENT}), digest="0" * 64)
    with pytest.raises(DownloadError, match="not the file that the index describes"):
        get_packed(PackageFile(f"{NAME}==1.0", "x", sdist=True), tmp_path)


def test_index_lacks_the_sdist(index: Server, tmp_path: Path) -> None:
    index.pages[f"/simple/{NAME}/"] = b"<a href='tinyzoo-2.0.tar.gz'>2.0</a>"
    with pytest.raises(DownloadError, match=r"no tinyzoo-1\.0\.tar\.gz"):
        get_packed(PackageFile(f"{NAME}==1.0", "x", sdist=True), tmp_path)


def test_password_of_the_index_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@127.0.0.1/simple")
    with pytest.raises(DownloadError, match="wants a password") as caught:
        get_packed(PackageFile(f"{NAME}==1.0", "x", sdist=True), tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("member", ["../x", "/x", "a/../../x"])
def test_member_outside_goes_where_it_should(
    index: Server, pip_folder: Path, tmp_path: Path, member: str
) -> None:
    wheel(pip_folder, member, CONTENT)
    offer(index, sdist({member: CONTENT}))
    for packed in (False, True):
        path = get_packed(PackageFile(f"{NAME}==1.0", member, sdist=packed), tmp_path)
        assert path.read_bytes() == CONTENT
        assert left_in(tmp_path) == {"cache", "wheels"}
        assert left_in(tmp_path / "cache") == {"x"}
        path.unlink()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("member", "content", "message"),
    [
        ("x", CONTENT * 2, f"{2 * len(CONTENT)} bytes, not {len(CONTENT)}"),
        ("x", CONTENT[1:], "bytes, not"),
        ("x", CONTENT[::-1], "its sha256 is"),
        ("y", CONTENT, "has no file x"),
    ],
)
def test_bad_member(
    index: Server,
    pip_folder: Path,
    tmp_path: Path,
    packed: bool,
    member: str,
    content: bytes,
    message: str,
) -> None:
    wheel(pip_folder, member, content)
    offer(index, sdist({member: content}))
    with pytest.raises(DownloadError, match=message):
        get_packed(PackageFile(f"{NAME}==1.0", "x", sdist=packed), tmp_path)
    assert left_in(tmp_path / "cache") == set()


def test_links_and_broken_archives_are_refused(index: Server, tmp_path: Path) -> None:
    source = PackageFile(f"{NAME}==1.0", "x", sdist=True)
    for archive in (sdist({"x": None}), sdist({"x": CONTENT})[:-4000], b"no archive"):
        offer(index, archive)
        with pytest.raises(DownloadError):
            get_packed(source, tmp_path)
        assert not (tmp_path / "cache" / "x").exists()


def test_member_that_lies_about_its_size(pip_folder: Path, tmp_path: Path) -> None:
    wheel(pip_folder, "x", CONTENT + b"hidden")
    path = next(pip_folder.iterdir())
    honest, lie = ((len(CONTENT) + more).to_bytes(4, "little") for more in (6, 0))
    path.write_bytes(path.read_bytes().replace(honest, lie))
    with pytest.raises(DownloadError):
        get_packed(PackageFile(f"{NAME}==1.0", "x"), tmp_path)
    assert not (tmp_path / "cache" / "x").exists()


def test_package_fails_then_address(server: Server, pip_folder: Path, tmp_path: Path) -> None:
    sources: list[FileSource] = [PackageFile(f"{NAME}==1.0", "x"), f"{server.url}/file"]
    path = download(sources, tmp_path / "x", size=len(CONTENT), digest=DIGEST)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("pack", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_wheels_that_are_packed_in_other_ways(pack: int, pip_folder: Path, tmp_path: Path) -> None:
    """LZMA takes the memory that the archive asks for."""
    wheel(pip_folder, "y", b"")
    path = next(pip_folder.iterdir())
    with zipfile.ZipFile(path, "a", pack) as file:
        file.writestr("x", CONTENT)
    with pytest.raises(DownloadError, match="packed in a way that wheels are not"):
        get_packed(PackageFile(f"{NAME}==1.0", "x"), tmp_path)


def test_damaged_wheels(pip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever byte is wrong, it is read or an error of one line."""
    wheel(pip_folder, "tinyzoo/x", b"12345" * 9)
    path = next(pip_folder.iterdir())
    monkeypatch.setattr(package_index, "_fetch_wheel", lambda *_: path)
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            extract(PackageFile("x==1", "tinyzoo/x"), tmp_path / "part", (45,))
        except DownloadError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 10


def gz(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)  # else the tests' names have the time in them


def tar_header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        gz(b""),
        gz(b"\xff" * 2048),
        gz(tar_header("a", 1 << 43) + b"\0" * 4096),
        gz(tar_header("x", 1 << 40, tarfile.XHDTYPE) + b"9" * 4096),
        gz(tar_header("x", 1 << 40, tarfile.GNUTYPE_LONGNAME) + b"9" * 4096),
        gz(tar_header("x", 20, tarfile.XHDTYPE) + b"99999999999999999999 path=" + b"\0" * 2000),
        gz(tar_header("x", 20, tarfile.XHDTYPE) + b"20 size=9999999999\n\n" + b"\0" * 2000),
        gz(tar_header("\udcff" * 20, 3) + b"\0" * 1024),
    ],
)
def test_damaged_source_archives(archive: bytes, index: Server, tmp_path: Path) -> None:
    offer(index, archive)
    with pytest.raises(DownloadError) as error:
        get_packed(PackageFile(f"{NAME}==1.0", "x", sdist=True), tmp_path)
    assert "\n" not in str(error.value)


def test_links_of_the_index_that_are_no_addresses(index: Server, tmp_path: Path) -> None:
    offer(index, sdist({"x": CONTENT}))
    page = f"/simple/{NAME}/"
    index.pages[page] = b"<a href='http://[/'>1</a><a href='//[x'>2</a>" + index.pages[page]
    path = get_packed(PackageFile(f"{NAME}==1.0", "x", sdist=True), tmp_path)
    assert path.read_bytes() == CONTENT
