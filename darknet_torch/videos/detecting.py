"""Videos, cameras and streams -> frames with their detections, tracks and counts."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from os import PathLike
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, TypeAlias

import torch

from darknet_torch.errors import ImageError, UsageError
from darknet_torch.images.limits import pixel_limit
from darknet_torch.inference.detections import Detections
from darknet_torch.inference.detector import Detector
from darknet_torch.inference.streaming import Outcomes, in_workers, run_batches, stream
from darknet_torch.network import Runnable
from darknet_torch.network.eval_mode import in_eval_mode
from darknet_torch.safety.threads import end
from darknet_torch.videos.ahead import Ahead
from darknet_torch.videos.counting import Counting
from darknet_torch.videos.folders import FolderReader
from darknet_torch.videos.frame import VideoFrame
from darknet_torch.videos.places import Place, place_of, seconds_of
from darknet_torch.videos.reading import FrameReader, RawFrame, ReadCounts, Reader, Span
from darknet_torch.videos.tracking import WEAK, Tracking
from darknet_torch.videos.zones import read_zones

__all__ = ["Time", "Video", "video"]

Time: TypeAlias = str | float
"""Seconds, or text of seconds, m:ss or h:mm:ss."""
READ_AHEAD, DONE_AHEAD = 8, 4
"""Frames that wait for the network, and frames that wait for their user; one each in real time."""
PATIENCE = 2.0
"""Seconds to wait at the end for the thread that reads; a camera or a dead connection may hang."""
TOGETHER, LARGEST = 8, 32 << 20
"""Frames of a file that a thread takes at once, and bytes of them, at most."""


def video(
    network: Runnable,
    source: str | PathLike[str] | int,
    *,
    threshold: float | Mapping[str, float] | None = None,
    nms: float = 0.45,
    nms_kind: str | None = None,
    hier_threshold: float = 0.5,
    letterbox: bool | None = None,
    classes: Sequence[str | int] | None = None,
    max_det: int | None = None,
    agnostic: bool = False,
    use_map: bool | str | PathLike[str] = False,
    tiles: str | tuple[int, int] | None = None,
    overlap: float = 0.2,
    batch_size: int = 1,
    workers: int = 2,
    max_pixels: int | None = None,
    every: int = 1,
    start: Time = 0,
    end: Time | None = None,
    rate: float = 25.0,
    realtime: bool | None = None,
    reconnect: int = 5,
    track: bool = False,
    zones: str | PathLike[str] | None = None,
) -> "Video":
    """Detect the objects in the frames of a video, a camera or a stream.

    Reading, computing and whatever the caller does with a frame overlap, in threads. Needs the
    extra `video` (but for a folder of images), and `track` for tracks, lines and zones.

    Args:
        network: a Network, an optimized one, or a converted file.
        source: a video file, a folder of images that are frames, the number of a camera (0) or
            its device (/dev/video0), or an address (rtsp://, http://, https://, rtmp://, tcp://,
            udp://, rtp://, srt://).
        threshold: lowest score of a detection, of all classes, or by class name ("*" is all
            others); where objects are tracked, lower ones continue tracks, too; None is the
            fork's (pjreddie 0.5, AlexeyAB 0.25).
        nms: IoU above which the weaker of two boxes is dropped; 0 keeps all.
        nms_kind: "default" (IoU, class by class), "greedynms", "diounms" or "objectness" (all
            classes of a box at once, `do_nms_obj`); None is the last head's.
        hier_threshold: where to stop on the way down a word tree.
        letterbox: keep the aspect ratio on a grey ground, or stretch; None is the fork's.
        classes: names or indices of the classes to detect; None detects all.
        max_det: most detections of a frame, the best are kept; None keeps all.
        agnostic: boxes of different classes compete in NMS too.
        use_map: with a word tree, score the classes of the section's `map` file, or of another.
        tiles: size of the tiles in which a large frame is looked at: "800x600", (800, 600), or
            "auto", that of the network's input; None is the whole frame at once.
        overlap: share of a tile that the next one has, too.
        batch_size: frames, or tiles, in one forward pass; one in real time.
        workers: threads that compute; on a CPU, they share its cores.
        max_pixels: most pixels of a frame; 0 sets no limit; None is the variable
            DARKNET_TORCH_MAX_PIXELS, or else 89 million (`PIL.Image.MAX_IMAGE_PIXELS`).
        every: only each so many-th frame.
        start: time of the first frame, in seconds or as h:mm:ss.
        end: time at which to end, in seconds or as h:mm:ss; None is the end of the video.
        rate: frames in a second of a folder of images.
        realtime: the newest frame is taken and those that have passed meanwhile are dropped; a
            file is played at its speed; None is so for cameras and live streams alone.
        reconnect: tries in a row to reach a stream again that broke off, with growing pauses (0.5,
            1, 2 ... 30 seconds); after the last one the video ends.
        track: give each object a number that it has in all frames.
        zones: a YAML file of lines and zones in which tracked objects are counted.

    Returns:
        An iterator of `VideoFrame`; `with` or `close` ends it early.

    Raises:
        ImageError: the source cannot be opened, has no video, or its frames are too large.
        UsageError: an argument is out of its range, the network has no head, or a package is
            missing.
        DataError: the file of lines and zones is wrong.
    """
    detector = Detector(
        network,
        threshold=threshold,
        nms=nms,
        nms_kind=nms_kind,
        hier_threshold=hier_threshold,
        letterbox=letterbox,
        classes=classes,
        max_det=max_det,
        agnostic=agnostic,
        use_map=use_map,
        tiles=tiles,
        overlap=overlap,
        batch_size=batch_size,
        workers=workers,
        max_pixels=max_pixels,
    )
    span = _span(every, start, end)
    if reconnect < 0 or not 0 < rate <= 1000:
        raise UsageError("reconnect: must be at least 0; rate: above 0, up to 1000")
    counting = None if zones is None else Counting(read_zones(zones), detector.names)
    place = place_of(source)
    reader = _reader(place, span, pixel_limit(max_pixels), rate, reconnect)
    tracking = None
    if track or counting is not None:
        tracking = Tracking(detector.thresholds, reader.rate / every)
        detector.thresholds = detector.thresholds.scaled(WEAK)
    newest = not reader.is_finite if realtime is None else realtime
    paced = newest and reader.is_finite
    return Video(place.name, detector, reader, tracking, counting, newest=newest, paced=paced)


def _span(every: int, start: Time, end: Time | None) -> Span:
    if every < 1:
        raise UsageError(f"every={every}: must be at least 1")
    first = seconds_of(start, "start")
    last = None if end is None else seconds_of(end, "end")
    if last is not None and last <= first:
        raise UsageError(f"end={end}: must be later than start={start}")
    return Span(every, first, last)


def _reader(place: Place, span: Span, limit: int, rate: float, reconnect: int) -> FrameReader:
    if place.kind == "folder":
        return FolderReader(Path(place.address), span, limit, rate)
    return Reader(place, span, limit, reconnect)


class Video(Iterator[VideoFrame]):
    """The frames of a video, one after the other; `video` makes it.

    Attributes:
        name: of the source, without a password.
        rate: frames in a second of the source.
        total: about how many frames there will be; None where nobody knows.
        counts: frames that were read, damaged parts, connections to a stream after the first.
    """

    def __init__(
        self,
        name: str,
        detector: Detector,
        reader: FrameReader,
        tracking: Tracking | None = None,
        counting: Counting | None = None,
        *,
        newest: bool = False,
        paced: bool = False,
    ) -> None:
        self.name, self.rate, self.total = name, reader.rate, reader.total
        self.counts: ReadCounts = reader.counts
        self._tracking, self._counting = tracking, counting
        frames, stopped = reader.frames(), Event()
        if paced:
            frames = _in_their_time(frames, stopped)

        def stop() -> None:  # which must not know this object: it would keep it
            stopped.set()
            reader.stop()

        self._frames = Ahead(
            frames, 1 if newest else READ_AHEAD, newest=newest, stop=stop, patience=PATIENCE
        )
        detected = _detected(
            detector, self._frames, newest=newest, together=reader.is_finite and not paced
        )
        self._detected = Ahead(detected, 1 if newest else DONE_AHEAD, stop=self._frames.stop)

    @property
    def dropped(self) -> int:
        """Frames that were dropped, because the network was busy with earlier ones."""
        return self._frames.dropped

    def __next__(self) -> VideoFrame:
        try:
            frame, detections = next(self._detected)
        except BaseException:
            self.stop()
            raise
        ids = counts = None
        if self._tracking is not None:
            detections, ids = self._tracking(detections, frame.time)
            if self._counting is not None:
                counts = self._counting(detections, ids, (detections.width, detections.height))
        return VideoFrame(
            frame.image, frame.number, frame.time, detections, ids, counts, frame.duration
        )

    def stop(self) -> None:
        """Let the frames end; any thread may call it."""
        self._detected.stop()

    def close(self) -> None:
        """End the work, and wait for its threads; for that which reads, a short while at most."""
        end([self._frames.thread, self._detected.thread])

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _in_their_time(
    frames: Generator[RawFrame, None, None], stopped: Event
) -> Generator[RawFrame, None, None]:
    """Yield frames when it is time for them."""
    begun = None
    with closing(frames):
        for frame in frames:
            begun = monotonic() - frame.time if begun is None else begun
            stopped.wait(max(0.0, begun + frame.time - monotonic()))
            yield frame


class _FrameTask:
    """The steps from a frame to its detections."""

    def __init__(self, detector: Detector) -> None:
        steps = detector.tiled or detector
        self.network, self.forward = detector.network, steps.forward
        self.postprocess, self._prepare = steps.postprocess, steps.prepare

    def prepare(self, frame: RawFrame, /) -> Any:
        """Bring a frame to the size of the network's input."""
        return self._prepare(torch.from_numpy(frame.image).permute(2, 0, 1))  # not copied


def _detected(
    detector: Detector, frames: Iterator[RawFrame], *, newest: bool, together: bool
) -> Generator[tuple[RawFrame, Detections], None, None]:
    """Yield frames with their detections, in order."""
    task, size, workers = _FrameTask(detector), detector.batch_size, detector.workers
    with in_eval_mode(detector.network):
        if newest:
            for frame in frames:
                (detections,) = run_batches(task, [task.prepare(frame)])
                yield frame, detections
        elif workers > 1 and detector.network.concurrent:
            batches = _batches(frames, size, together=together)
            yield from _good(in_workers(task, batches, size, workers))
        else:
            yield from _good(stream(task, frames, size, workers))


def _batches(frames: Iterator[RawFrame], size: int, *, together: bool) -> Iterator[list[RawFrame]]:
    """Yield what a worker takes at once: a batch, or several.

    The boxes of a few frames take as long to postprocess as those of one.
    """
    for first in frames:
        most = min(TOGETHER, LARGEST // max(1, first.image.nbytes)) if together else 1
        yield [first, *islice(frames, max(1, most // size) * size - 1)]


def _good(outcomes: Outcomes[Detections]) -> Iterator[tuple[RawFrame, Detections]]:
    """Yield frames and detections; raise the error of a frame."""
    with closing(outcomes):
        for frame, detections, error in outcomes:
            if detections is None:
                raise error or ImageError(f"frame {frame.number}: cannot be prepared")
            yield frame, detections
