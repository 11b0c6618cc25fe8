"""Frames of a video: upright, with their numbers and times, and across gaps in a connection."""

import time as clock
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from darknet_torch.errors import ImageError
from darknet_torch.videos.containers import (
    Opener,
    decoded,
    is_finite,
    packets_before,
    seek_key_frame,
)
from darknet_torch.videos.places import Place

__all__ = ["FrameReader", "RawFrame", "ReadCounts", "Reader", "Span"]

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before the first try to reach a stream again, which are doubled each time; at most."""
USUAL_RATE = 25.0
"""Frames in a second where nobody says."""
HIGHEST_RATE = 1000.0
"""Frames in a second; formats that have no rate may say 90,000."""
LONGEST = 3600.0
"""Seconds that a frame may last; more is a mistake in the file."""
CLOSE = 1e-6
"""Seconds by which times may differ that are the same."""


class RawFrame(NamedTuple):
    """A frame: (H, W, 3) uint8 RGB, its number from 0, its time and duration in seconds."""

    image: npt.NDArray[np.uint8]
    number: int
    time: float
    duration: float | None = None


class Span(NamedTuple):
    """Which frames are wanted: every nth one; from a time on, up to another, in seconds."""

    every: int = 1
    start: float = 0.0
    end: float | None = None

    def has(self, number: int, time: float) -> bool:
        """Return whether a frame is wanted."""
        return number % self.every == 0 and time >= self.start - CLOSE and not self.is_over(time)

    def is_over(self, time: float) -> bool:
        """Return whether no frame is wanted from a time on."""
        return self.end is not None and time >= self.end - CLOSE

    def share(self, frames: int, rate: float) -> int:
        """Return about how many of so many frames are wanted."""
        last = frames if self.end is None else min(frames, round(self.end * rate))
        return max(0, -(-(last - round(self.start * rate)) // self.every))


@dataclass
class ReadCounts:
    """What happened to a video.

    Args:
        read: frames that were read.
        broken: damaged parts that were passed over.
        reconnected: connections to a stream after the first one.
    """

    read: int = 0
    broken: int = 0
    reconnected: int = 0


class FrameReader(Protocol):
    """What yields frames: of a video, or of a folder of images.

    Attributes:
        counts: what happened so far.
        rate: frames in a second.
        total: about how many frames are wanted; None where nobody knows.
        is_finite: whether it has an end of its own, as a file; frames of cameras and live streams
            come in their own time.
    """

    counts: ReadCounts
    rate: float
    total: int | None
    is_finite: bool

    def frames(self) -> Generator[RawFrame, None, None]:
        """Yield the wanted frames; raises ImageError if there is none."""

    def stop(self) -> None:
        """Let the frames end soon; any thread may call it."""


class Reader:
    """A file, a camera or a stream that is opened, and opened again where it breaks off.

    Args:
        place: what is read.
        span: the frames that are wanted.
        max_pixels: most pixels of a frame; 0 is no limit.
        reconnect: tries in a row to reach a stream again.

    Raises:
        ImageError: it cannot be opened, or has no video.
    """

    def __init__(self, place: Place, span: Span, max_pixels: int = 0, reconnect: int = 0) -> None:
        self.opener, self.span = Opener(place, max_pixels), span
        self.reconnect = 0 if place.kind == "file" else reconnect
        self.counts, self._stopped = ReadCounts(), Event()
        self._container: Any = self.opener.open()
        stream = self.opener.stream(self._container)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        self.rate = rate if 0 < rate <= HIGHEST_RATE else USUAL_RATE
        self.is_finite = is_finite(self._container)
        length = stream.frames or round((self._container.duration or 0) / 1e6 * self.rate)
        self.total = span.share(length, self.rate) if self.is_finite and length else None
        self._to_rgb = self.opener.av.video.reformatter.VideoReformatter()  # prepared once
        self._decoded, self._time = 0, -1.0
        self._begun = clock.monotonic()

    def stop(self) -> None:
        """Let the frames end soon; any thread may call it."""
        self._stopped.set()

    def frames(self) -> Generator[RawFrame, None, None]:
        """Yield the frames.

        Raises:
            ImageError: there is none, or one has too many pixels.
        """
        failures, error = 0, self.opener.error("no frame could be decoded")
        while not self._stopped.is_set():
            known = self._decoded
            try:
                yield from self._connection()
                if self.is_finite:
                    break
            except self.opener.failures as problem:
                error = self.opener.error(problem)
            failures = 0 if self._decoded > known else failures
            while failures < self.reconnect and not self._reach_again(failures):
                failures += 1
            if failures == self.reconnect:
                break
            failures += 1
        if not (self._decoded or self._stopped.is_set()):
            raise error

    def _reach_again(self, failures: int) -> bool:
        """Wait, and open a stream once more that broke off; return whether that succeeded."""
        if self._stopped.wait(min(FIRST_PAUSE * 2**failures, LONGEST_PAUSE)):
            return True  # nobody wants it
        try:
            self._container = self.opener.open()
            self.opener.stream(self._container)
        except ImageError:
            self._container.close()
            return False
        self.counts.reconnected += 1
        return True

    def _connection(self) -> Iterator[RawFrame]:
        """Yield the wanted frames of the open container, and close it."""
        key, last = self._go_to_start(), self._time
        with closing(self._container) as container:
            stream = self.opener.stream(container)
            origin = None if key is None else self._origin(stream, 0.0)
            for frame in decoded(self.opener, container, stream, key):
                if self._stopped.is_set():
                    return
                if frame is None:
                    self.counts.broken += 1
                    continue
                stamp = self._decoded / self.rate if frame.time is None else float(frame.time)
                origin = self._origin(stream, stamp) if origin is None else origin
                time = stamp - origin
                if self.is_finite and time <= last:
                    continue  # it was there before the connection broke
                number, self._decoded, self._time = self._decoded, self._decoded + 1, time
                if self.span.is_over(time):
                    return self._stopped.set()
                if self.span.has(number, time):
                    self.counts.read += 1
                    yield self._raw(frame, number, time)

    def _origin(self, stream: Any, stamp: float) -> float:
        """Return the time stamp of the time 0, from that of the first frame of a connection."""
        if self.is_finite:
            known = stream.start_time is not None
            return float(stream.start_time * stream.time_base) if known else stamp
        if self._time < 0:
            self._begun = clock.monotonic()
            return stamp
        # The clock goes on while nothing arrives; frames may also arrive faster than their times.
        return stamp - max(clock.monotonic() - self._begun, self._time + 1 / self.rate)

    def _raw(self, frame: Any, number: int, time: float) -> RawFrame:
        self.opener.check(frame.width, frame.height)
        image = self._to_rgb.reformat(frame, format="rgb24", threads=1).to_ndarray()
        if turns := round(frame.rotation / 90) % 4:
            image = np.ascontiguousarray(np.rot90(image, turns))
        duration = float((frame.duration or 0) * (frame.time_base or 0))
        return RawFrame(image, number, time, duration if 0 < duration < LONGEST else None)

    def _go_to_start(self) -> int | None:
        """Seek the last key frame before the first wanted one; return its stamp, if it is known."""
        wanted = max(self.span.start, self._time)
        stream = self.opener.stream(self._container)
        if not self.is_finite or wanted <= 0 or stream.start_time is None:
            return None
        stamp = stream.start_time + int(wanted / stream.time_base)
        key = seek_key_frame(self.opener, self._container, stream, stamp)
        if key is None:
            self._container.close()
            self._container = self.opener.open()
        elif self._time < 0:
            self._decoded = packets_before(self.opener, key)
        return key
