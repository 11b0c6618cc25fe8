"""Detect objects in a video, a camera or a stream; write, print or serve what is found.

examples: darknet-torch video yolov4-tiny street.mp4
          darknet-torch video my.cfg my.weights street.mp4 --out out.mp4 --jsonl out.jsonl --track
          darknet-torch video yolov4-tiny 0 --mjpeg-port 8090 --json-port 8070
          darknet-torch video yolov4-tiny rtsp://camera.local/live --zones gate.yaml --json
          darknet-torch video yolov4-tiny film.mkv --from 1:30 --to 2:00 --every 5 --csv found.csv

Where nothing is said of what to write, it is an annotated video in the folder detections. Ctrl-C
ends the work; what was written up to then is complete (exit status 130).
"""

import argparse
from typing import TYPE_CHECKING

from darknet_torch.cli.arguments import (
    add_cfg,
    add_engine,
    add_speed,
    load_runnable,
    take_weights,
)
from darknet_torch.cli.output import inform
from darknet_torch.cli.parameters import add_parameters, given, parameters_of
from darknet_torch.cli.progress import doing, with_bar
from darknet_torch.cli.video_outputs import VideoOutputs, add_outputs
from darknet_torch.errors import UsageError
from darknet_torch.safety.interrupt import stops_between_batches
from darknet_torch.safety.text import printable

if TYPE_CHECKING:
    from darknet_torch.videos.detecting import Video

SIGNATURE = ("darknet_torch.videos.detecting", "video")
FLAGS = {"use_map": "--map", "start": "--from", "end": "--to"}
NEGATIVE = {
    "letterbox": ("--stretch", "fill the input"),
    "realtime": ("--all-frames", "compute all frames of cameras and live streams, too"),
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_cfg(parser)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="+",
        help="a video file, a folder of frames, the number of a camera (0), or an address"
        " (rtsp://...); before it the .weights file, if CFG is a file",
    )
    parser.add_argument("--weights", help="weights file (default: the named model's)")
    parser.add_argument("--names", help="file of class names, one a line; or a .data or .yaml")
    add_parameters(parser, parameters_of(*SIGNATURE), flags=FLAGS, negative=NEGATIVE)
    add_engine(parser)
    add_speed(parser)
    add_outputs(parser)


def run(options: argparse.Namespace) -> int:
    """Detect in all frames; print at the end what was done."""
    from darknet_torch.videos.detecting import video
    from darknet_torch.videos.places import place_of, seconds_of

    take_weights(options, among="source")
    if not options.source:
        raise UsageError("video: SOURCE is missing; it comes behind the network and its weights")
    source, *others = options.source
    if others:
        raise UsageError(f"video: {others[0]}: one word too many")
    place, start = place_of(source), seconds_of(options.start, "--from")
    end = None if options.end is None else seconds_of(options.end, "--to")
    network = load_runnable(options, many=True)
    doing("video")
    with video(network, source, **given(options, parameters_of(*SIGNATURE))) as frames:
        outputs = VideoOutputs(options, place, frames.rate, start, end)
        with outputs, stops_between_batches(then=frames.stop) as interrupt:
            for frame in with_bar(frames, frames.total, "frame"):
                outputs.write(frame)
            if interrupt.requested:
                outputs.cut_sound()
            elif not outputs.count:
                raise UsageError(f"{printable(frames.name)}: no frame is in the part to read")
    for line in _report(frames, outputs):
        inform(line) if options.json else print(line)
    return 130 if interrupt.requested else 0


def _report(frames: "Video", outputs: VideoOutputs) -> list[str]:
    """Return the lines that say what was done."""
    counts, last = frames.counts, outputs.last
    lines = [f"{printable(frames.name)}: {outputs.count} frames"]
    if frames.dropped:
        lines.append(f"{frames.dropped} frames dropped, as the network was busy")
    if counts.broken:
        lines.append(f"{counts.broken} damaged parts passed over")
    if counts.reconnected:
        lines.append(f"connections after the first: {counts.reconnected}")
    if last is not None and last.counts is not None:
        lines += [shape.report for shape in last.counts.shapes]
    return [*lines, *(f"wrote {printable(str(path))}" for path in outputs.written)]
