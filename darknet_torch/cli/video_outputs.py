"""What the verb video writes of each frame: a video, JSON, CSV, and feeds over HTTP."""

import argparse
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from darknet_torch.cli.output import inform, print_json
from darknet_torch.errors import UsageError
from darknet_torch.files import atomic
from darknet_torch.safety.text import csv_line

if TYPE_CHECKING:
    from PIL import Image

    from darknet_torch.videos.frame import VideoFrame
    from darknet_torch.videos.places import Place
    from darknet_torch.videos.writing import VideoWriter

__all__ = ["VideoOutputs", "add_outputs"]

COLUMNS = (
    *("frame", "time", "class", "class_id", "score"),
    *("left", "top", "right", "bottom", "track_id"),
)
JPEG_QUALITY = 80

Picture: TypeAlias = Callable[[], "Image.Image"]
"""Returns the annotated frame."""
Write: TypeAlias = Callable[["VideoFrame", Picture], object]
"""Writes a frame; it is drawn only where the picture is asked for."""


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is written."""
    group = parser.add_argument_group("what is written")
    group.add_argument(
        "--out", metavar="FILE", help="annotated video, .mp4, .mov, .mkv or .webm, with the sound"
    )
    group.add_argument("--json", action="store_true", help="print JSON, an object a line and frame")
    group.add_argument("--jsonl", metavar="FILE", help="the same into a file")
    group.add_argument("--csv", metavar="FILE", help="a line for each object")
    group.add_argument("--mjpeg-port", type=int, metavar="N", help="annotated frames over HTTP")
    group.add_argument("--json-port", type=int, metavar="N", help="Darknet's JSON over HTTP")
    group.add_argument(
        "--bind",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="address of the ports; 0.0.0.0 lets other machines read (default: %(default)s)",
    )
    group.add_argument("--font", metavar="FILE", help="a font for the labels")


class VideoOutputs:
    """All that the options ask for; as a context: at its end files get their names.

    Args:
        options: of the verb.
        place: of the video.
        rate: frames in a second.
        start: time in seconds of the first frame that is wanted.
        end: that of the last one; None is the end of the video.

    Attributes:
        written: the files.
        count: number of frames so far.
        last: the last one of them.

    Raises:
        UsageError: a file cannot be written, would overwrite the video or another of the files, a
            port is in use, or the font is none.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        place: "Place",
        rate: float,
        start: float,
        end: float | None,
    ) -> None:
        from darknet_torch.images.fonts import load_font
        from darknet_torch.videos.writing import VideoWriter

        if options.font is not None:
            load_font(options.font)
        out = options.out or _default_out(options, place)
        _check_files([out, options.jsonl, options.csv], place)
        self._options, self._stack, self._writes = options, ExitStack(), list[Write]()
        self.written, self._video = list[Path](), None
        self.count = 0
        self.last: VideoFrame | None = None
        if out:
            sound = place if place.kind == "file" else None
            self._video = VideoWriter(out, sound=sound, start=start, end=end, rate=rate)

    def __enter__(self) -> "VideoOutputs":
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def write(self, frame: "VideoFrame") -> None:
        """Write the next frame; it is drawn if somebody wants the picture."""
        if self._video is not None and not self.count:  # without a frame there is no file
            self.written.insert(0, self._video.path)
        self.count, self.last = self.count + 1, frame
        picture = cache(partial(frame.draw, font=self._options.font))
        for write in self._writes:
            write(frame, picture)

    def cut_sound(self) -> None:
        """Let the sound end with the last frame that was written."""
        if self._video is not None:
            self._video.cut_sound = True

    def _open(self, stack: ExitStack) -> None:
        options = self._options
        if self._video is not None:
            self._writes.append(_video_writes(stack.enter_context(self._video)))
        for path, writes in ((options.jsonl, _json_writes), (options.csv, _csv_writes)):
            if path is not None:
                file = stack.enter_context(atomic(path))
                self._writes.append(writes(file))
                self.written.append(Path(path))
        if options.json:
            self._writes.append(lambda frame, _: print_json(frame.to_dict()))
        for port, serve in (
            (options.mjpeg_port, _serve_pictures),
            (options.json_port, _serve_json),
        ):
            if port is not None:
                self._writes.append(serve(port, options.bind, stack))


def _default_out(options: argparse.Namespace, place: "Place") -> Path | None:
    """Return the video that is written where nothing is said of what to write."""
    asked = (options.jsonl, options.csv, options.mjpeg_port, options.json_port)
    if options.json or any(each is not None for each in asked):
        return None
    folder = Path("detections")
    folder.mkdir(exist_ok=True)
    name = Path(place.name).stem if place.kind in ("file", "folder") else "video"
    return folder / f"{name}.mp4"


def _check_files(paths: Sequence[str | Path | None], place: "Place") -> None:
    """Raise UsageError where a file would overwrite the video that is read, or another one."""
    others = set[Path]()
    for path in (Path(each) for each in paths if each is not None):
        place.refuse_output(path)
        if path.resolve() in others:
            raise UsageError(f"{path}: --out, --jsonl and --csv must be different files")
        others.add(path.resolve())


def _video_writes(writer: "VideoWriter") -> Write:
    import numpy as np

    def write(frame: "VideoFrame", picture: Picture) -> None:
        writer.write(np.asarray(picture()), frame.time, frame.duration)

    return write


def _json_writes(file: BinaryIO) -> Write:
    return lambda frame, _: file.write(frame.to_json().encode() + b"\n")


def _csv_writes(file: BinaryIO) -> Write:
    """Return what writes a line for each object; track ids are empty where there are none."""

    def row(*cells: object) -> None:
        file.write(csv_line(cells).encode())

    def write(frame: "VideoFrame", _: Picture) -> None:
        ids = frame.track_ids or (None,) * len(frame.detections)
        for d, track_id in zip(frame.detections, ids, strict=True):
            box = (round(v, 2) for v in d.box)
            start = (frame.number, f"{frame.time:.6f}", d.name, d.class_id, f"{d.score:.4f}")
            row(*start, *box, "" if track_id is None else track_id)

    row(*COLUMNS)
    return write


def _serve_pictures(port: int, address: str, stack: ExitStack) -> Write:
    from darknet_torch.videos.serving import mjpeg_feed

    feed = stack.enter_context(closing(mjpeg_feed(port, address)))
    inform(f"annotated frames: http://{address}:{feed.port}")

    def write(_: "VideoFrame", picture: Picture) -> None:
        if feed.has_readers:
            content = BytesIO()
            picture().save(content, "JPEG", quality=JPEG_QUALITY)
            feed.send(content.getvalue())

    return write


def _serve_json(port: int, address: str, stack: ExitStack) -> Write:
    from darknet_torch.videos.serving import darknet_json, json_feed

    feed = stack.enter_context(closing(json_feed(port, address)))
    inform(f"detections as JSON: http://{address}:{feed.port}")
    return lambda frame, _: feed.send(darknet_json(frame).encode())
