"""Detect objects in images, print them, and write the images with boxes on them.

examples: darknet-torch detect yolov4-tiny
          darknet-torch detect yolov4-tiny street.jpg holidays/ --threshold 0.4
          darknet-torch detect my.cfg my.weights "shots/*.png" --save txt,json --out detections
"""

import argparse
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darknet_torch.cli.arguments import (
    WEIGHTS,
    add_cfg,
    add_engine,
    load_runnable,
    take_weights,
)
from darknet_torch.cli.output import note, print_json
from darknet_torch.cli.parameters import add_parameters, given, parameters_of
from darknet_torch.cli.progress import with_bar
from darknet_torch.errors import UsageError
from darknet_torch.text import printable

if TYPE_CHECKING:
    from PIL import Image

    from darknet_torch.inference.detections import Detections

SIGNATURE = ("darknet_torch.inference.detector", "detect")
NEGATIVE = {"letterbox": ("--stretch", "fill the input")}
KINDS = ("picture", "crops", "txt", "json", "voc", "none")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_cfg(parser)
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="*",
        help="files, folders, globs; before them the .weights file, if CFG is a file."
        " Without any, the sample image",
    )
    parser.add_argument("--weights", help="weights file (default: the named model's)")
    parser.add_argument("--names", help="file of class names, one a line")
    parameters = parameters_of(*SIGNATURE)
    add_parameters(parser, parameters, flags={"use_map": "--map"}, negative=NEGATIVE)
    add_engine(parser)
    parser.add_argument("--out", default="detections", help="folder to write to (%(default)s)")
    parser.add_argument(
        "--save", default="picture", help=f"list of {', '.join(KINDS)} (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(options: argparse.Namespace) -> int:
    """Detect on all images; report the broken ones at the end."""
    from darknet_torch.inference.engines import ENDINGS

    kinds = _kinds(options.save)
    take_weights(options, (*WEIGHTS, *ENDINGS))
    detector = _detector(options)
    sources = _sources(options.images)
    out = _Folder(Path(options.out), kinds)
    broken, shown = [], []
    for outcome in with_bar(detector.stream(sources), len(sources)):
        if outcome.result is None:
            broken.append(outcome.error)
            continue
        written = out.write(outcome.source, outcome.result)
        if options.json:
            shown.append(outcome.result.to_dict())
        else:
            _show(outcome.source, outcome.result, written)
    if options.json:
        print_json(shown)
    for error in broken:
        note(f"darknet-torch: {error}")
    return int(bool(broken))


def _kinds(text: str) -> set[str]:
    kinds = set(text.split(",")) - {""}
    if wrong := kinds - set(KINDS):
        raise UsageError(f"--save {sorted(wrong)[0]}: must be among {', '.join(KINDS)}")
    return kinds - {"none"}


def _detector(options: argparse.Namespace) -> Any:
    from darknet_torch.inference.detector import Detector

    return Detector(load_runnable(options), **given(options, parameters_of(*SIGNATURE)))


def _sources(images: list[str]) -> list[str]:
    from darknet_torch.inference.streaming import expand
    from darknet_torch.loading import cfg_folder

    return list(expand(images or [str(cfg_folder() / "sample.jpg")])[0])


def _show(source: str, detections: "Detections", written: list[Path]) -> None:
    table = [detections.table()] if len(detections) else []
    paths = [f"wrote {printable(str(path))}" for path in written]
    lines = [f"{printable(source)}: {detections}", *table, *paths]
    print("\n".join(lines) + "\n", end="")  # in one piece, whoever reads it


class _Folder:
    """The folder of results; images of one name in several folders get numbers."""

    def __init__(self, path: Path, kinds: set[str]) -> None:
        self.path, self.kinds, self.taken = path, kinds, set[str]()
        try:
            if kinds:
                path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--out {path}: {error.strerror}") from error

    def write(self, source: str, detections: "Detections") -> list[Path]:
        """Write the requested files of one image; return their paths."""
        from darknet_torch.files import write_atomically

        stem = self._stem(source)
        written = []
        for path, content in self._contents(stem, source, detections):
            if path.exists() and path.samefile(source):
                raise UsageError(f"--out {self.path}: would overwrite the image {source}")
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, content)
            written.append(path)
        return written

    def _stem(self, source: str) -> str:
        stem = plain = Path(source).stem
        number = 2
        while stem in self.taken:
            stem, number = f"{plain}-{number}", number + 1
        self.taken.add(stem)
        return stem

    def _contents(
        self, stem: str, source: str, detections: "Detections"
    ) -> Iterator[tuple[Path, bytes | str]]:
        if "txt" in self.kinds:
            yield self.path / f"{stem}.txt", detections.to_yolo()
        if "json" in self.kinds:
            yield self.path / f"{stem}.json", detections.to_json()
        if "voc" in self.kinds:
            yield self.path / f"{stem}.xml", detections.to_voc()
        if self.kinds & {"picture", "crops"}:
            yield from self._images(stem, source, detections)

    def _images(
        self, stem: str, source: str, detections: "Detections"
    ) -> Iterator[tuple[Path, bytes]]:
        if "picture" in self.kinds:
            yield self.path / f"{stem}.jpg", _jpeg(detections.draw(source))
        if "crops" in self.kinds:
            for number, crop in enumerate(detections.crops(source)):
                yield self.path / f"{stem}-crops" / f"{number:03}.jpg", _jpeg(crop)


def _jpeg(image: "Image.Image") -> bytes:
    content = BytesIO()
    image.save(content, "JPEG", quality=92)
    return content.getvalue()
