"""The sound of a video, copied into a new file packet by packet."""

from collections.abc import Generator
from contextlib import closing
from typing import Any

from darknet_torch.errors import warn
from darknet_torch.videos.containers import Opener
from darknet_torch.videos.places import Place

__all__ = ["Sound"]


class Sound:
    """The sound of a file, on its way into another one; its streams are added at once.

    Args:
        place: the file.
        target: the new container, whose header is not written yet.
        name: of the new file, for warnings.
        start: time in seconds that becomes 0.
        end: where the sound ends; None is its own end.

    Raises:
        ImageError: the file cannot be opened.
    """

    def __init__(
        self, place: Place, target: Any, name: str, start: float = 0.0, end: float | None = None
    ) -> None:
        self.opener, self.target, self.name = Opener(place), target, name
        errors = self.opener.av.error
        self.damage = errors.InvalidDataError, errors.ArgumentError, errors.PatchWelcomeError
        """What FFmpeg raises for a packet that the new file cannot take."""
        self.damaged = 0
        self._packets = self._copied(start, end)
        self._waiting = next(self._packets, None)

    def mux(self, until: float) -> None:
        """Write what is heard before a time of the new file, in seconds."""
        while self._waiting is not None and self._waiting[0] < until:
            try:
                self.target.mux(self._waiting[1])
            except self.damage:
                self.damaged += 1
            self._waiting = next(self._packets, None)

    def close(self) -> None:
        """Close the file, and warn where a part of the sound could not be copied."""
        self._packets.close()
        if self.damaged:
            warn(f"{self.name}: {self.damaged} damaged parts of the sound are left out")
            self.damaged = 0

    def _copied(self, start: float, end: float | None) -> Generator[tuple[float, Any], None, None]:
        """Yield the packets, each with its time in the new file."""
        with closing(self.opener.open()) as source:
            sounds = source.streams.audio
            outputs = {s.index: each for s in sounds if (each := self._added(s)) is not None}
            if not outputs:
                return
            video = self.opener.stream(source)
            origin = float((video.start_time or 0) * video.time_base)
            last = dict.fromkeys(outputs, -(1 << 62))
            try:
                if start:
                    source.seek(int((origin + start) * 1_000_000))
                for packet in source.demux([source.streams[index] for index in outputs]):
                    if packet.dts is None or packet.pts is None:
                        continue
                    time = float(packet.pts * packet.time_base) - origin
                    if end is not None and time >= end:
                        return
                    index = packet.stream.index
                    if (time >= start or not start) and packet.dts > last[index]:
                        last[index] = packet.dts
                        shift = round((origin + start) / packet.time_base)
                        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                        packet.stream = outputs[index]
                        yield time - start, packet
            except self.opener.failures:  # the video ends there, too
                self.damaged += 1

    def _added(self, stream: Any) -> Any:
        """Return the new stream of a sound; None, with a warning, where it does not fit."""
        kind = "unknown" if stream.codec_context is None else stream.codec_context.name
        if kind in self.target.supported_codecs:
            return self.target.add_stream_from_template(stream)
        warn(f"{self.name}: has no sound of the kind {kind}; a .mkv file has")
        return None
