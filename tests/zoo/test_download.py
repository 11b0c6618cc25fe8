"""Downloads from a server on this machine: complete and verified, or not at all."""

import hashlib
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from webserver import CONTENT, DIGEST, Server, get, left_in, serve  # noqa: F401

from darknet_torch.errors import DownloadError
from darknet_torch.zoo.download import download

ROOT = Path(__file__).resolve().parents[2]
OTHER = "sha256:" + "0" * 64


def test_fetches_once_and_reports_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = get(
        server, tmp_path / "new" / "x", progress=lambda done, total: seen.append((done, total))
    )
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert get(server, path) == path
    assert server.requests == [("/file", None)]
    assert left_in(path.parent) == {"x"}


def test_file_put_by_hand_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    assert download([], tmp_path / "x", size=[1, len(CONTENT)]).read_bytes() == CONTENT


def test_file_put_by_hand_has_the_digest_or_is_fetched_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, digested = tmp_path / "x", []
    counted = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: digested.append(a[1]) or counted(*a))
    path.write_bytes(CONTENT)
    for _ in range(3):
        assert get(server, path) == path
    assert (digested, server.requests) == (["sha256"], [])
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(0, 0))
    with pytest.raises(DownloadError, match=f"put the file of {len(CONTENT)} bytes"):
        download([], path, size=len(CONTENT), digest=DIGEST)
    assert path.read_bytes() == CONTENT[::-1]  # it is the user's
    assert get(server, path).read_bytes() == CONTENT
    digested.clear()
    assert get(server, path) == path
    assert not digested


def test_file_put_by_hand_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    (tmp_path / "x.lock").mkdir()
    assert download([], tmp_path / "x", size=len(CONTENT), digest=DIGEST) == tmp_path / "x"


def test_file_of_wrong_size_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"half")
    assert get(server, tmp_path / "x").read_bytes() == CONTENT


def test_wrong_digest_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"sha256 is {DIGEST[7:]}, not 0000"):
        get(server, tmp_path / "x", digest=OTHER)
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("kind", ["sha1", "sha256", "sha512"])
def test_digests_of_every_kind(kind: str, server: Server, tmp_path: Path) -> None:
    digest = f"{kind}:{hashlib.new(kind, CONTENT).hexdigest()}"
    assert get(server, tmp_path / "x", digest=digest).read_bytes() == CONTENT
    with pytest.raises(DownloadError, match=f"{kind} is "):
        get(server, tmp_path / "y", digest=f"{kind}:{'0' * len(digest)}")


def test_files_without_an_address(tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        download([], tmp_path / "x", size=(1, 5), published="https://page", hint=", or not")
    assert str(caught.value) == (
        "x: no address is known from which it can be fetched; put the file of 1 or 5 bytes"
        f" from https://page at {tmp_path / 'x'} by hand, or not"
    )


def test_next_source_on_failure(server: Server, tmp_path: Path) -> None:
    server.pages["/wrong"] = CONTENT[::-1]
    sources = [f"{server.url}/{each}" for each in ("missing", "wrong", "file")]
    path = download(sources, tmp_path / "x", size=len(CONTENT), digest=DIGEST)
    assert path.read_bytes() == CONTENT
    assert [each[0] for each in server.requests] == ["/missing", "/wrong", "/file"]


def test_message_says_what_to_do(server: Server, tmp_path: Path) -> None:
    address = f"{server.url}/missing"
    with pytest.raises(DownloadError) as caught:
        download([address], tmp_path / "x", size=77, digest=DIGEST, hint=", or pass --weights")
    assert str(caught.value) == (
        f"x: cannot be fetched ({address}: 404 Not Found); put the file of 77 bytes from "
        f"{address} at {tmp_path / 'x'} by hand, or pass --weights"
    )


def test_first_digest_is_noted_and_kept_to(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x.part").write_bytes(b"of an unknown version")
    with caplog.at_level(logging.WARNING):
        path = get(server, tmp_path / "x", digest=None)
    assert "nobody has published a checksum" in caplog.text
    assert server.requests == [("/file", None)]
    assert (tmp_path / "x.sha256").read_text() == f"{DIGEST[7:]}  x\n"
    path.unlink()
    server.pages["/file"] = CONTENT[::-1]
    with pytest.raises(DownloadError, match=f"not {DIGEST[7:]}"):
        get(server, path, digest=None)
    assert left_in(tmp_path) == {"x.sha256"}


def test_sha1_and_two_sizes(server: Server, tmp_path: Path) -> None:
    digest = "sha1:" + hashlib.sha1(CONTENT).hexdigest()
    assert get(server, tmp_path / "x", digest=digest, size=[len(CONTENT) + 4, len(CONTENT)])


def test_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="set DARKNET_TORCH_CACHE"):
        get(server, tmp_path / "file" / "x")


def child(server: Server, path: Path) -> subprocess.Popen[bytes]:
    code = (
        "import sys, pathlib; from darknet_torch.zoo.download import download;"
        "download([sys.argv[1]], pathlib.Path(sys.argv[2]),"
        " size=int(sys.argv[3]), digest=sys.argv[4])"
    )
    arguments = [f"{server.url}/file", str(path), str(len(CONTENT)), DIGEST]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment)


def test_killed_in_the_middle_then_resumed(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    server.pause = 0.02
    with child(server, tmp_path / "x") as process:
        while not (part.exists() and part.stat().st_size > 1 << 18):
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
    assert left_in(tmp_path) == {"x.part"}
    kept, server.pause = part.stat().st_size, 0
    assert get(server, tmp_path / "x").read_bytes() == CONTENT
    assert server.requests == [("/file", None), ("/file", f"bytes={kept}-")]
    assert left_in(tmp_path) == {"x"}


def test_two_processes_download_once(server: Server, tmp_path: Path) -> None:
    server.pause = 0.02
    children = [child(server, tmp_path / "x") for _ in range(2)]
    assert [each.wait(30) for each in children] == [0, 0]
    assert server.requests == [("/file", None)]
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert left_in(tmp_path) == {"x"}
