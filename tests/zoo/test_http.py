"""HTTP against a server on this machine: sizes, resumed downloads, redirects, https only."""

import hashlib
import io
from http.client import HTTPMessage
from pathlib import Path
from urllib.request import Request

import pytest
from webserver import CONTENT, DIGEST, Server, get, left_in, serve  # noqa: F401

from darknet_torch.errors import DownloadError
from darknet_torch.zoo.download import download
from darknet_torch.zoo.http import _Redirects, fetch_bytes, open_url


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("change", [-1, 1])
def test_wrong_size(server: Server, tmp_path: Path, change: int, lengths: bool) -> None:
    server.lengths = lengths
    expected = len(CONTENT) + change
    message = f"has {len(CONTENT)} bytes, not {expected}" if lengths else "longer than|ended after"
    digest = "sha256:" + hashlib.sha256((CONTENT + b"?")[:expected]).hexdigest()
    with pytest.raises(DownloadError, match=message):
        get(server, tmp_path / "x", size=expected, digest=digest)
    # a short file waits for its rest; of a longer one nothing stays
    assert left_in(tmp_path) == ({"x.part"} if change > 0 and not lengths else set())


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="refused"):
        download(["http://127.0.0.1:9/x"], tmp_path / "x", size=1, digest=DIGEST)


@pytest.mark.parametrize("ranges", [True, False])
def test_resumes_after_a_broken_connection(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.cut = 1 << 20
    with pytest.raises(DownloadError, match=f"ended after {1 << 20} of {len(CONTENT)} bytes"):
        get(server, tmp_path / "x")
    assert left_in(tmp_path) == {"x.part"}
    server.cut, server.ranges = len(CONTENT), ranges
    assert get(server, tmp_path / "x").read_bytes() == CONTENT
    again = [] if ranges else [None]  # it sent everything, and was asked for everything again
    assert [each[1] for each in server.requests] == [None, f"bytes={1 << 20}-", *again]


def test_rest_that_begins_elsewhere_is_not_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(CONTENT[:1000])
    server.shift = 10
    assert get(server, tmp_path / "x").read_bytes() == CONTENT


def test_part_is_too_long_or_foreign(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(CONTENT + b"more")
    assert get(server, tmp_path / "x").read_bytes() == CONTENT
    (tmp_path / "y.part").write_bytes(b"\0" * 1000 + b"foreign")
    with pytest.raises(DownloadError, match="sha256"):
        get(server, tmp_path / "y")
    assert get(server, tmp_path / "y").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "address", ["file:///etc/hostname", "ftp://127.0.0.1/x", "http://a.test/x"]
)
@pytest.mark.parametrize("redirected", [False, True])
def test_only_https(server: Server, tmp_path: Path, address: str, redirected: bool) -> None:
    server.redirects["/there"] = address
    source = f"{server.url}/there" if redirected else address
    with pytest.raises(DownloadError, match=r"only https|not allowed"):
        download([source], tmp_path / "x", size=1)
    assert left_in(tmp_path) == set()


def test_https_may_not_lead_to_this_machine() -> None:
    request = Request("https://a.test/x")
    with pytest.raises(DownloadError, match="only https"):
        _Redirects(plain=False).redirect_request(
            request, io.BytesIO(), 302, "", HTTPMessage(), "http://127.0.0.1/x"
        )


def test_follows_a_good_redirect(server: Server, tmp_path: Path) -> None:
    server.redirects["/old"] = "/file"
    source = f"{server.url}/old"
    path = download([source], tmp_path / "x", size=len(CONTENT), digest=DIGEST)
    assert path.read_bytes() == CONTENT


def test_images_may_come_over_plain_http(server: Server) -> None:
    """But from the web only, whatever the server answers."""
    server.redirects["/there"] = f"{server.url}/file"
    assert fetch_bytes(f"{server.url}/there", len(CONTENT)) == CONTENT
    with pytest.raises(DownloadError, match="larger than 1 MB"):
        fetch_bytes(f"{server.url}/file", 1 << 20)
    server.redirects["/file"] = "file:///etc/hostname"
    for address in (f"{server.url}/there", "file:///etc/hostname", "ftp://a.test/x"):
        with pytest.raises(DownloadError, match=r"only http and https|not allowed"):
            fetch_bytes(address, 1 << 20)


@pytest.mark.parametrize(
    "location",
    [
        *("http://[", "//[::1", "https://[x]/", "http://127.0.0.1:x/", "http://127.0.0.1:99999/"),
        *(
            "\x00",
            "https://" + "a" * 300 + "/",
            "http://\xff\xfe/",
            "https://xn--\xfc/",
            "?" * 9000,
        ),
    ],
)
def test_malformed_redirects_and_then_the_next_source(
    location: str, server: Server, tmp_path: Path
) -> None:
    server.redirects["/elsewhere"] = location
    with pytest.raises(DownloadError) as error:
        open_url(f"{server.url}/elsewhere")
    assert "\n" not in str(error.value)
    sources = [f"{server.url}/elsewhere", f"{server.url}/file"]
    path = download(sources, tmp_path / "x", size=len(CONTENT), digest=DIGEST)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://[", "https://[::1", "", "https://", "file:///etc/passwd"])
def test_malformed_addresses(url: str) -> None:
    with pytest.raises(DownloadError):
        open_url(url)


@pytest.mark.parametrize("length", ["9" * 5000, "9" * 19, "-1", "1e3", "\u0663", ""])
def test_lengths_that_are_none(length: str, server: Server, tmp_path: Path) -> None:
    """They are done without, as where a server sends none: the bytes are counted anyway."""
    server.length = length
    try:
        assert get(server, tmp_path / "x").read_bytes() == CONTENT
    except DownloadError as error:  # what Python's own client does not take
        assert "\n" not in str(error)
