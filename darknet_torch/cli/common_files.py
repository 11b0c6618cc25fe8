"""The files that detect writes for all images together: COCO's JSON, CSV, JSON lines.

They grow in temporary files, and get their names at the end, after Ctrl-C too.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from darknet_torch.files import atomic
from darknet_torch.safety.text import csv_line, printable, to_json

if TYPE_CHECKING:
    from darknet_torch.inference.detections import Detections

__all__ = ["COMMON_KINDS", "CommonFiles"]

COLUMNS = ("path", "class", "class_id", "score", "left", "top", "right", "bottom")
Write = Callable[["Detections"], str]
"""Returns the next text of a file."""


class CommonFiles:
    """The files for all images; as a context: at its end they get their names.

    Args:
        folder: to write to.
        kinds: of COMMON_KINDS.
        names: of all classes.
        suffix: before the ending of the files' names, such as ".1" of one process of several.
    """

    def __init__(self, folder: Path, kinds: set[str], names: Sequence[str], suffix: str) -> None:
        self._stack = ExitStack()
        self.paths: list[Path] = []
        self._writers: list[tuple[BinaryIO, Any]] = []
        for kind in sorted(kinds & COMMON_KINDS.keys()):
            ending, make = COMMON_KINDS[kind]
            self.paths.append(folder / f"detections{suffix}{ending}")
            self._writers.append((self._stack.enter_context(atomic(self.paths[-1])), make(names)))

    def write(self, detections: "Detections") -> None:
        """Write the detections of the next image."""
        for file, writer in self._writers:
            file.write(writer.row(detections).encode())

    def close(self) -> None:
        """Complete the files, and give them their names."""
        for file, writer in self._writers:
            file.write(writer.end().encode())
        self._stack.close()


class _JsonLines:
    """An object a line for each image, as `detect --json` prints it."""

    def __init__(self, names: Sequence[str]) -> None:
        del names  # stand in each object

    def row(self, detections: "Detections") -> str:
        return detections.to_json() + "\n"

    def end(self) -> str:
        return ""


class _Csv:
    """A line for each object."""

    def __init__(self, names: Sequence[str]) -> None:
        del names
        self._head = csv_line(COLUMNS)

    def row(self, detections: "Detections") -> str:
        content = detections.to_dict()
        text, self._head = self._head, ""
        for each in content["detections"]:
            values = content["path"], each["class"], each["class_id"], each["score"], *each["box"]
            text += csv_line(values)
        return text

    def end(self) -> str:
        return self._head


class _Coco:
    """A data set of COCO: images, annotations with scores, categories."""

    def __init__(self, names: Sequence[str]) -> None:
        from darknet_torch.data.coco_classes import COCO_CATEGORY_IDS, are_coco

        self.ids = COCO_CATEGORY_IDS if are_coco(names) else tuple(range(1, len(names) + 1))
        categories = [
            {"id": number, "name": printable(name), "supercategory": ""}
            for number, name in zip(self.ids, names, strict=True)
        ]
        self._images: list[str] = []
        self._next = 1
        self._before = '{"categories": ' + to_json(categories) + ', "annotations": ['

    def row(self, detections: "Detections") -> str:
        number = len(self._images) + 1
        size = {"width": detections.width, "height": detections.height}
        self._images.append(to_json({"id": number, "file_name": detections.path, **size}))
        text = ""
        for row in detections.to_coco(number, self.ids):
            extent = {"area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0, "segmentation": []}
            text += self._before + to_json({"id": self._next, **row, **extent})
            self._before, self._next = ",\n", self._next + 1
        return text

    def end(self) -> str:
        before = self._before if self._next == 1 else ""
        return before + '], "images": [' + ",\n".join(self._images) + "]}\n"


COMMON_KINDS = {
    "coco": (".coco.json", _Coco),
    "csv": (".csv", _Csv),
    "jsonl": (".jsonl", _JsonLines),
}
"""Kind -> the ending of its file, and what writes it."""
