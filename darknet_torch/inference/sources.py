"""What an argument of images stands for: files, folders, globs, lists of files, addresses."""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from glob import has_magic
from io import BytesIO
from os import PathLike, fspath
from pathlib import Path
from threading import Lock
from typing import Any

from torch import Tensor

from darknet_torch.data.description import describe
from darknet_torch.data.paths import folder_and_parents, list_images, read_list
from darknet_torch.errors import DownloadError, ImageError
from darknet_torch.files import IMAGE_SUFFIXES, glob_files, is_file
from darknet_torch.safety.text import printable, without_password
from darknet_torch.zoo.http import fetch_bytes

__all__ = ["STREAMS", "expand", "fetched", "is_address", "path_of"]

DESCRIPTIONS = (".data", ".yaml", ".yml")
STREAMS = ("rtsp", "rtsps", "rtmp", "rtmps", "tcp", "udp", "rtp", "srt")
"""Schemes of addresses that only `video` reads."""
LARGEST = 64 << 20
"""Bytes of an image that is fetched from an address."""
KEPT = 256 << 20
"""Bytes of fetched images that are kept, as they may be read again for drawing."""


def expand(images: Any) -> tuple[Iterable[Any], bool]:
    """Return the single images of an argument of `detect`, and whether it stands for several.

    Raises:
        ImageError: a folder, glob or list without images.
    """
    if isinstance(images, str | PathLike):
        return _expand_path(fspath(images))
    if isinstance(images, Tensor) and images.dim() == 4:
        return images.unbind(0), True
    if isinstance(images, list | tuple):
        return [single for each in images for single in expand(each)[0]], True
    if isinstance(images, Iterator) and not hasattr(images, "read"):  # files iterate over lines
        return images, True
    return [images], False


def _expand_path(path: str) -> tuple[list[str], bool]:
    if is_address(path):
        return [path], False
    if path.lower().startswith(tuple(f"{scheme}://" for scheme in STREAMS)):
        what = "a stream, no image; `darknet-torch video` and dt.video read it"
        raise ImageError(f"{without_password(path)}: {what}")
    if path == "":  # of an empty variable; pathlib takes it for the current folder
        raise ImageError("an empty path is no image")
    if Path(path).is_dir():
        inside = sorted(
            str(each) for each in Path(path).iterdir() if each.suffix.lower() in IMAGE_SUFFIXES
        )
        if not inside:
            raise ImageError(f"{path}: no images in this folder ({' '.join(IMAGE_SUFFIXES)})")
        return inside, True
    if has_magic(path) and not Path(path).exists():
        matches = [each for each in glob_files(path) if Path(each).is_file()]
        if not matches:
            raise ImageError(f"{path}: no file matches")
        return matches, True
    if _is_text(path):
        return _listed(path), True
    return [path], False


def _is_text(path: str) -> bool:
    """Return whether a file is a text, by its content: a list of images, or a data set."""
    if Path(path).suffix.lower() in IMAGE_SUFFIXES or not is_file(path):
        return False
    with Path(path).open("rb") as file:
        start = file.read(1024)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16, of Windows
        return True
    is_netpbm = re.match(rb"P[1-7]\s", start)
    return bool(start) and not is_netpbm and not re.search(rb"[^\t-\r\x1a\x1b -\xff]", start)


def _listed(path: str) -> list[str]:
    """Return the images of a list, or of the part `val` of a data set's description."""
    where = printable(path)
    if Path(path).suffix.lower() in DESCRIPTIONS:
        found = describe(path)
        parts, folders, near_list = found.parts, found.search_folders, found.near_list
        listed = [each for part in parts for each in list_images(part, folders, where, near_list)]
        return [str(image.path) for image in listed]
    images = list_images(path, (Path(), *folder_and_parents(Path(path).parent)), where, False)
    lines = [line for _, line in read_list(Path(path))]
    return [
        line if is_address(line) else str(image.path)
        for line, image in zip(lines, images, strict=True)
    ]


def is_address(source: Any) -> bool:
    """Return whether a source is an address of the web."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def fetched(source: Any) -> Any:
    """Return a source that can be read here: an address is fetched.

    Raises:
        ImageError: it cannot be fetched, or is larger than 64 MB.
    """
    if not is_address(source):
        return source
    content = _recent.get(source)
    if content is None:
        try:
            content = fetch_bytes(source, LARGEST)
        except DownloadError as error:
            raise ImageError(f"{source}: {error}") from error
        _recent.put(source, content)
    return _Fetched(source, content)


class _Fetched(BytesIO):
    """The content of an image, with its address as the name."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name = name


class _Recent:
    """The images that were fetched last."""

    def __init__(self) -> None:
        self.lock, self.contents = Lock(), OrderedDict[str, bytes]()

    def get(self, address: str) -> bytes | None:
        """Return the content of an image; None if it is not here."""
        with self.lock:
            return self.contents.get(address)

    def put(self, address: str, content: bytes) -> None:
        """Keep the content of an image, and forget the oldest ones."""
        with self.lock:
            self.contents[address] = content
            while sum(map(len, self.contents.values())) > KEPT:
                self.contents.popitem(last=False)


_recent = _Recent()


def path_of(source: Any) -> str | None:
    """Return the path or address of a source, if it has one."""
    if isinstance(source, str | PathLike):
        return fspath(source)
    name = getattr(source, "name", None) or getattr(source, "filename", None)
    return name if isinstance(name, str) and name else None
