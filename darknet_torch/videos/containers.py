"""Files, cameras and streams opened by PyAV, and the frames that can be decoded of them."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from darknet_torch.errors import ImageError
from darknet_torch.extras import require
from darknet_torch.images.limits import check_pixels
from darknet_torch.videos.places import Place

__all__ = ["Opener", "decoded", "is_finite", "packets_before", "seek_key_frame"]

TIMEOUT = 10.0
"""Seconds without a byte after which a stream counts as dead."""
MOST_ERRORS = 100
"""Damaged places in a row after which a file ends."""
BACK = (0, 2, 10)
"""Seconds before a wanted time at which a key frame is looked for."""
BLOCKS = 1 << 16
"""Pixels of the blocks that a small frame is decoded in, at most."""
_NO_LIMIT = (1 << 31) - 1


class Opener:
    """Opens the container of a place, as often as needed.

    Args:
        place: what is opened.
        max_pixels: most pixels of a frame; 0 is no limit.

    Raises:
        UsageError: PyAV is not installed.
    """

    def __init__(self, place: Place, max_pixels: int = 0) -> None:
        self.av: Any = require("av", "video")
        self.place, self.max_pixels = place, max_pixels
        self.failures: tuple[type[Exception], ...] = (OSError, self.av.error.FFmpegError)
        """What is raised where a file or connection is broken."""

    def open(self) -> Any:
        """Return the open container.

        Raises:
            ImageError: there is none, or it is no video.
        """
        networked = self.place.kind in ("stream", "camera")
        try:
            return self.av.open(
                self.place.address,
                format=self.place.format,
                options={**self._limit(), **self.place.options},
                timeout=TIMEOUT if networked else None,
                **self._titles(),
            )
        except self.av.error.InvalidDataError as error:
            cause = "no answer" if networked else "damaged, cut off, or something else"
            raise self.error(f"no video that FFmpeg can read: {cause}") from error
        except self.failures as error:
            raise self.error(error) from error

    def stream(self, container: Any) -> Any:
        """Return the first video of a container that is no cover picture.

        Raises:
            ImageError: there is none, or it has too many pixels.
        """
        for stream in container.streams.video:
            context = stream.codec_context  # None of an unknown codec
            is_cover = stream.disposition & self.av.stream.Disposition.attached_pic
            if context is not None and not is_cover:
                context.options = self._limit()
                self.check(context.width, context.height)
                context.thread_type = "AUTO" if self.place.kind == "file" else "SLICE"
                return stream
        raise self.error("no video in it")

    def check(self, width: int, height: int) -> None:
        """Raise ImageError for a frame of too many pixels."""
        try:
            check_pixels(width, height, self.max_pixels)
        except ImageError as error:
            raise self.error(error) from error

    def error(self, reason: object) -> ImageError:
        """Return the error with a reason, or another error in place of it."""
        if isinstance(reason, self.av.error.ExitError):  # PyAV's for the end of its patience
            reason = f"nothing arrived for {TIMEOUT:g} seconds"
        return ImageError(f"{self.place.name}: {getattr(reason, 'strerror', None) or reason}")

    def _titles(self) -> dict[str, str]:
        """Return the argument by which titles that are no UTF-8 are no error; PyAV 19 has none."""
        major = int(self.av.__version__.partition(".")[0])
        return {"metadata_errors": "replace"} if major < 19 else {}

    def _limit(self) -> dict[str, str]:
        """Return FFmpeg's option by which no far larger frame is allocated.

        It counts whole blocks of pixels; `check` counts those of the frame itself.
        """
        return {"max_pixels": str(2 * self.max_pixels + BLOCKS if self.max_pixels else _NO_LIMIT)}


def is_finite(container: Any) -> bool:
    """Return whether a container has an end: its length is known, in time or in bytes."""
    return (container.duration or 0) > 0 or (container.size or 0) > 0


def decoded(opener: Opener, container: Any, stream: Any, key: int | None = None) -> Iterator[Any]:
    """Yield all frames that can be decoded, and None for each part that cannot.

    key: time stamp of the key frame to begin with; None is the first packet.

    Raises:
        FFmpegError: the connection broke off.
    """
    invalid, errors, begun = opener.av.error.InvalidDataError, 0, False
    while errors < MOST_ERRORS:
        try:
            for packet in container.demux(stream):
                if key is not None and packet.pts != key and not begun:
                    continue
                begun = True
                try:
                    frames = packet.decode()
                except opener.av.error.EOFError:  # the decoder is empty
                    continue
                except opener.av.error.FFmpegError:
                    yield None
                    continue
                errors = 0 if frames else errors
                yield from (f for f in frames if key is None or f.pts is None or f.pts >= key)
            return
        except invalid:  # between two packets
            errors += 1
            yield None


def seek_key_frame(opener: Opener, container: Any, stream: Any, stamp: int) -> int | None:
    """Go to a key frame at or before a time stamp; return its own.

    Some formats have no index, and find a place that is too late. Where no search does better,
    the container has to be read from its beginning, and None is returned.
    """
    for seconds in BACK:
        place = stamp - int(seconds / stream.time_base)
        try:
            container.seek(place, stream=stream)
            packets = container.demux(stream)
            key = next((p.pts for p in packets if p.is_keyframe and p.pts is not None), None)
            if key is not None and key <= stamp:
                container.seek(place, stream=stream)
                found: int = key
                return found
        except opener.failures:
            return None
    return None


def packets_before(opener: Opener, stamp: int) -> int:
    """Return how many frames a file has before a time stamp, without decoding them."""
    count = 0
    with closing(opener.open()) as container:
        for packet in container.demux(opener.stream(container)):
            if packet.dts is not None and packet.dts >= stamp:
                break
            count += packet.pts is not None and packet.pts < stamp
    return count
