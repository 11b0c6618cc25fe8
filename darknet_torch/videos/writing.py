"""Video files written with the times of their frames, and with the sound of their source."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from darknet_torch.errors import UsageError, warn
from darknet_torch.extras import require
from darknet_torch.files import atomic
from darknet_torch.videos.places import Place
from darknet_torch.videos.sound import Sound

__all__ = ["VIDEO_ENDINGS", "VideoWriter"]

H264 = "libx264", {"preset": "veryfast", "crf": "21"}
FORMATS = {
    ".mp4": ("mp4", *H264),
    ".m4v": ("mp4", *H264),
    ".mov": ("mov", *H264),
    ".mkv": ("matroska", *H264),
    ".webm": ("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "6", "crf": "32"}),
}
"""Ending of a file -> FFmpeg's format, encoder and the encoder's options."""
VIDEO_ENDINGS = tuple(FORMATS)
TICKS = Fraction(1, 90_000)
"""The unit of time stamps, as in television: frames of all usual rates last whole numbers of it."""
_BT601, _LIMITED = 6, 1
"""FFmpeg's numbers of the colours that RGB is converted to."""


class VideoWriter:
    """A video file, which gets its name when it is complete.

    Args:
        path: of the file; its ending says the format, see VIDEO_ENDINGS.
        sound: a file whose sound is copied.
        start: time in seconds that becomes 0.
        end: where the sound ends; None is its own end.
        rate: frames in a second, about.

    Attributes:
        frames: number of frames written.
        cut_sound: the sound ends with the last frame, wherever its own end is.

    Raises:
        UsageError: a format of no such ending is written, or the file would overwrite `sound`.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        sound: Place | None = None,
        start: float = 0.0,
        end: float | None = None,
        rate: float = 25.0,
    ) -> None:
        self.av: Any = require("av", "video")
        self.path, self.start, self.end, self.rate = Path(path), start, end, rate
        self.frames, self.cut_sound, self._source = 0, False, sound
        self._stack, self._durations = ExitStack(), dict[int, int]()
        self._to_yuv = self.av.video.reformatter.VideoReformatter()  # prepared once
        self._container: Any = None
        self._stream: Any = None
        self._sound: Sound | None = None
        self._stamp, self._ended = -1, 0.0
        if self.path.suffix.lower() not in FORMATS:
            raise UsageError(f"{path}: must end with {', '.join(FORMATS)}")
        if sound is not None:
            sound.refuse_output(self.path)

    def write(
        self, image: npt.NDArray[np.uint8], time: float, duration: float | None = None
    ) -> None:
        """Write the next frame.

        Args:
            image: (H, W, 3) uint8 RGB; resized to the first one's size.
            time: in seconds.
            duration: in seconds; None is that of the rate.

        Raises:
            UsageError: the file cannot be written.
        """
        height, width = image.shape[:2]
        if self._container is None:
            self._open(width + width % 2, height + height % 2)
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
        frame = self.av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        size = self._stream.width, self._stream.height
        frame = self._to_yuv.reformat(frame, *size, "yuv420p", threads=1)
        self._stamp = max(self._stamp + 1, round((time - self.start) / TICKS))
        frame.pts, frame.time_base = self._stamp, TICKS
        self._durations[self._stamp] = max(1, round((duration or 1 / self.rate) / TICKS))
        self._ended = time - self.start + (duration or 1 / self.rate)
        self.frames += 1
        self._mux(self._stream.encode(frame))

    def close(self) -> None:
        """Complete the file, and give it its name.

        Raises:
            UsageError: the file cannot be written.
        """
        with self._stack:
            if self._container is not None:
                self._mux(self._stream.encode(None))
                if self._sound is not None:
                    self._sound.mux(self._ended if self.cut_sound else float("inf"))
                with self._damage_counted():
                    self._container.close()

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file, or leave nothing of it after an error."""
        if kind is None:
            self.close()
        else:
            self._stack.__exit__(kind, error, traceback)

    def _open(self, width: int, height: int) -> None:
        file = self._stack.enter_context(atomic(self.path))
        try:
            self._begin(file, self._source, width, height)
        except self.av.error.FFmpegError:
            if self._source is None or not self._sound:
                raise
            warn(f"{self.path.name}: has no sound, as that of the source is damaged")
            file.seek(0)
            file.truncate()
            self._begin(file, None, width, height)

    def _begin(self, file: BinaryIO, source: Place | None, width: int, height: int) -> None:
        """Write the header, for frames of a size and the sound of a source."""
        format_name, codec, options = FORMATS[self.path.suffix.lower()]
        container = self._container = self.av.open(file, "w", format=format_name)
        stream = self._stream = container.add_stream(
            codec, rate=Fraction(self.rate).limit_denominator(1001), options=dict(options)
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.time_base, context.colorspace, context.color_range = TICKS, _BT601, _LIMITED
        self._sound = None
        if source is not None:
            self._sound = Sound(source, container, self.path.name, self.start, self.end)
            self._stack.callback(self._sound.close)
        container.start_encoding()

    def _mux(self, packets: list[Any]) -> None:
        """Write packets of the video, and the sound that comes before them."""
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, 0)
            if self._sound is not None:
                self._sound.mux(float(packet.dts * packet.time_base))
            with self._damage_counted():
                self._container.mux(packet)

    @contextmanager
    def _damage_counted(self) -> Iterator[None]:
        """Count the errors of packets of the sound, which wait for those of the video."""
        try:
            yield
        except self.av.error.FFmpegError as error:
            if self._sound is None or not isinstance(error, self._sound.damage):
                raise
            self._sound.damaged += 1
