"""What the source of a video stands for: a file, a folder of frames, a camera, a stream."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Literal

from darknet_torch.errors import ImageError, UsageError
from darknet_torch.safety.text import without_password
from darknet_torch.zoo.http import must_be_online

__all__ = ["Kind", "Place", "place_of", "seconds_of"]

Kind = Literal["file", "folder", "camera", "stream"]

PROTOCOLS = {
    "http": "http,https,tcp,tls,crypto,httpproxy,data",
    "https": "http,https,tcp,tls,crypto,httpproxy,data",
    "rtsp": "rtsp,rtp,udp,tcp,tls,srtp",
    "rtsps": "rtsp,rtp,udp,tcp,tls,srtp",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmp,tcp,tls",
    "tcp": "tcp",
    "udp": "udp",
    "rtp": "rtp,udp",
    "srt": "srt,udp",
}
"""Scheme of an address -> what FFmpeg may use for it: no playlist of the web reads local files."""
_LOCAL = {"protocol_whitelist": "file"}
"""A file may be a playlist; it may not make this machine ask others."""
_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")
_CAMERA = re.compile(r"/dev/video(\d+)")
_TIME = re.compile(r"(?:(?:(\d{1,6}):)?(\d{1,6}):)?(\d{1,9}(?:\.\d+)?)")


@dataclass(frozen=True)
class Place:
    """Where the frames come from.

    Args:
        kind: a file, a folder of images, a camera, or a stream of the network.
        address: what FFmpeg opens, or the folder.
        name: what is shown of it, without a password.
        format: FFmpeg's name of the format, where it does not find that out itself.
        options: for FFmpeg.
    """

    kind: Kind
    address: str
    name: str
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def refuse_output(self, path: Path) -> None:
        """Raise UsageError where a file that is to be written is the one that is read."""
        if self.kind == "file" and path.exists() and path.samefile(self.name):
            raise UsageError(f"{path}: would overwrite the video that is read")


def place_of(source: str | PathLike[str] | int) -> Place:
    """Return what a source stands for.

    Args:
        source: a file, a folder of images, the number of a camera or its device, or an address
            (rtsp://, http://, https://, rtmp://, tcp://, udp://, rtp://, srt://).

    Raises:
        ImageError: there is no such file, or no way to read such an address.
        DownloadError: it is an address, and nothing may be fetched.
    """
    text = str(source) if isinstance(source, int) else fspath(source)
    camera = _CAMERA.fullmatch(text)
    if camera or (text.isascii() and text.isdecimal() and not Path(text).exists()):
        return _camera(int(camera[1] if camera else text))
    if match := _ADDRESS.match(text):
        return _stream(text, match[1].lower())
    if "\0" in text or text == "" or not Path(text).exists():
        raise ImageError(f"{text or repr(text)}: no such file, folder or camera")
    if Path(text).is_dir():
        return Place("folder", text, text)
    # With the protocol before it no letter of a path means anything else.
    return Place("file", f"file:{text}", text, options=_LOCAL)


def _camera(number: int) -> Place:
    name = f"camera {number}"
    if sys.platform == "darwin":
        options = {"framerate": "30"}
        return Place("camera", str(number), name, "avfoundation", options)
    if sys.platform == "win32":
        raise ImageError(f"{name}: cameras of Windows are not read; a stream of theirs is")
    return Place("camera", f"/dev/video{number}", name, "v4l2")


def _stream(address: str, scheme: str) -> Place:
    name = without_password(address)
    if scheme not in PROTOCOLS:
        raise ImageError(f"{name}: addresses begin with {', '.join(PROTOCOLS)}")
    must_be_online()
    options = {"protocol_whitelist": PROTOCOLS[scheme]}
    if scheme in ("rtsp", "rtsps"):
        options["rtsp_transport"] = "tcp"  # by UDP frames arrive damaged
    return Place("stream", address, name, options=options)


def seconds_of(time: str | float, name: str) -> float:
    """Return a time in seconds.

    >>> seconds_of("1:02:03.5", "start")
    3723.5

    Args:
        time: seconds, or text of seconds, m:ss or h:mm:ss.
        name: of the argument, for the message.

    Raises:
        UsageError: it is no time from 0 on.
    """
    match = _TIME.fullmatch(str(time))
    if match is None:
        raise UsageError(f"{name}={time}: must be seconds, m:ss or h:mm:ss")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds
