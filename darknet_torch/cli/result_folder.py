"""The files that detect writes for each image."""

import os
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from darknet_torch.cli.common_files import COMMON_KINDS, CommonFiles
from darknet_torch.cli.labelled_folder import describe_folder, has_labels, labelled_files
from darknet_torch.errors import UsageError
from darknet_torch.safety.text import to_json

if TYPE_CHECKING:
    from PIL import Image

    from darknet_torch.inference.detections import Detections

__all__ = ["RESULT_KINDS", "ResultFolder", "kinds_of"]

RESULT_KINDS = (
    *("picture", "heatmap", "crops", "txt", "json", "voc", "labelme"),
    *(*COMMON_KINDS, "dataset", "none"),
)
ENDINGS = {
    "picture": ".jpg",
    "heatmap": "-heatmap.jpg",
    "txt": ".txt",
    "json": ".json",
    "voc": ".xml",
}
FIRST_CROP = "000.jpg"


def kinds_of(text: str) -> set[str]:
    """Return the kinds in a list such as `picture,txt`."""
    kinds = set(text.split(",")) - {""}
    if wrong := kinds - set(RESULT_KINDS):
        raise UsageError(f"--save {sorted(wrong)[0]}: must be among {', '.join(RESULT_KINDS)}")
    return kinds - {"none"}


class ResultFolder:
    """The folder of results; images of one name in several folders get numbers.

    Args:
        path: the folder, made if it does not exist.
        kinds: the files to write, of RESULT_KINDS.
        scores: whether the lines of a .txt end with the score.
        font: a file of a font for labels, see `Detections.draw`.
        names: of all classes.
        heat: draws the heat map of an image over it.
        suffix: of the names of files for all images, see `CommonFiles`.

    Attributes:
        path: the folder.
        finished: files that were written at the end, for all images.

    Raises:
        UsageError: the folder cannot be made, or the font cannot be read.
    """

    def __init__(
        self,
        path: Path,
        kinds: set[str],
        *,
        scores: bool = False,
        font: str | None = None,
        names: Sequence[str] = (),
        heat: "Callable[[Detections, str], Image.Image] | None" = None,
        suffix: str = "",
    ) -> None:
        from darknet_torch.images.fonts import load_font

        self.font = font
        if font is not None:
            load_font(font)  # before the work, not after
        self.path, self.kinds, self.scores, self.taken = path, kinds, scores, dict[str, int]()
        try:
            if kinds:
                path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--out {path}: {error.strerror}") from error
        self.names, self.heat, self.finished = names, heat, list[Path]()
        self._common = CommonFiles(path, kinds, names, suffix)

    def __enter__(self) -> "ResultFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self._common.close()
        self.finished += self._common.paths
        if "dataset" in self.kinds and (self.path / "images").is_dir():
            self.finished += describe_folder(self.path, self.names)

    def stem(self, source: str) -> str:
        """Return the name of an image's files, without ending: that of the image, or a number more.

        It depends on the images before it, so that it is the same in a second run on them.
        """
        name = unquote(urlsplit(source).path) if source.startswith(("http:", "https:")) else source
        stem = plain = Path(name).stem or "image"
        number = self.taken.get(plain, 1)  # where the search for it ended before
        while stem in self.taken:
            number += 1
            stem = f"{plain}-{number}"
        self.taken[stem] = 1
        self.taken[plain] = number
        return stem

    def has(self, stem: str) -> bool:
        """Return whether all files of an image are there."""
        paths = [self.path / f"{stem}{ENDINGS[kind]}" for kind in self.kinds & ENDINGS.keys()]
        if "labelme" in self.kinds:
            paths.append(self.path / "labelme" / f"{stem}.json")
        if self.kinds == {"crops"}:
            paths = [self.path / f"{stem}-crops" / FIRST_CROP]  # written last
        if "dataset" in self.kinds and not has_labels(self.path, stem):
            return False
        if self.kinds == {"dataset"}:
            return True
        return bool(paths) and all(path.is_file() for path in paths)

    def write(self, stem: str, source: str, detections: "Detections") -> list[Path]:
        """Write the requested files of one image; return their paths."""
        from darknet_torch.files import write_atomically

        written = []
        for path, content in self._contents(stem, source, detections):
            if path.exists() and Path(source).exists() and path.samefile(source):
                raise UsageError(f"--out {self.path}: would overwrite the image {source}")
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, content)
            written.append(path)
        self._common.write(detections)
        return written

    def _contents(
        self, stem: str, source: str, detections: "Detections"
    ) -> Iterator[tuple[Path, bytes | str]]:
        """Yield the files; those that tell that an image is done come last."""
        from darknet_torch.inference.detection_formats import to_labelme

        if "crops" in self.kinds:
            numbered = list(enumerate(detections.crops(source)))
            for number, crop in reversed(numbered):
                yield self.path / f"{stem}-crops" / f"{number:03}.jpg", _jpeg(crop)
        if "txt" in self.kinds:
            yield self.path / f"{stem}.txt", detections.to_yolo(score=self.scores)
        if "json" in self.kinds:
            yield self.path / f"{stem}.json", detections.to_json()
        if "voc" in self.kinds:
            yield self.path / f"{stem}.xml", detections.to_voc()
        if "labelme" in self.kinds:
            path = self.path / "labelme" / f"{stem}.json"
            size, image = (detections.width, detections.height), _from(path.parent, source)
            content = to_labelme(detections.clip(), *size, image)
            yield path, to_json(content, indent=2) + "\n"
        if "dataset" in self.kinds:
            yield from labelled_files(self.path, stem, source, detections)
        if "heatmap" in self.kinds and self.heat is not None:
            yield self.path / f"{stem}-heatmap.jpg", _jpeg(self.heat(detections, source))
        if "picture" in self.kinds:
            yield self.path / f"{stem}.jpg", _jpeg(detections.draw(source, font=self.font))


def _from(folder: Path, source: str) -> str:
    """Return the path of an image from a folder; an address stays."""
    if source.startswith(("http:", "https:")):
        return source
    return Path(os.path.relpath(source, folder)).as_posix()


def _jpeg(image: "Image.Image") -> bytes:
    content = BytesIO()
    image.save(content, "JPEG", quality=92)
    return content.getvalue()
