"""A labelled data set made of detections, to be corrected and trained on.

    images/street.jpg   a copy of the image
    labels/street.txt   Darknet's labels
    data.names, train.txt, data.data      for Darknet, and the verbs train, evaluate and data
    data.yaml                             for the same verbs, and Ultralytics

Darknet and Ultralytics both look for labels where `images` in an image's path is `labels`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from darknet_torch.files import write_atomically
from darknet_torch.safety.text import printable

if TYPE_CHECKING:
    from darknet_torch.inference.detections import Detections

__all__ = ["describe_folder", "has_labels", "labelled_files"]


def labelled_files(
    folder: Path, stem: str, source: str, detections: "Detections"
) -> Iterator[tuple[Path, bytes | str]]:
    """Yield the copy of an image and its labels, with their paths.

    Args:
        folder: of the data set.
        stem: name of both files, without ending.
        source: path or address of the image.
        detections: of the image; what of a box is beyond the image is cut off.
    """
    from darknet_torch.inference.sources import fetched

    inside = detections.clip()
    seen = inside[(inside.xyxy[:, 2:] - inside.xyxy[:, :2]).gt(0).all(dim=1)]
    name = urlsplit(source).path if source.startswith(("http:", "https:")) else source
    content = fetched(source)
    image = content.read() if hasattr(content, "read") else Path(source).read_bytes()
    yield folder / "images" / f"{stem}{Path(name).suffix or '.jpg'}", image
    yield folder / "labels" / f"{stem}.txt", seen.to_yolo()


def has_labels(folder: Path, stem: str) -> bool:
    """Return whether the labels of an image, which are written last, are there."""
    return (folder / "labels" / f"{stem}.txt").is_file()


def describe_folder(folder: Path, names: Sequence[str]) -> list[Path]:
    """Write the descriptions of a data set, of all images that are in it; return their paths."""
    import yaml

    known = [printable(name) for name in names]
    images = sorted(path.name for path in (folder / "images").iterdir())
    labelled = [name for name in images if has_labels(folder, Path(name).stem)]
    options = {"classes": len(known), "train": "train.txt", "valid": "train.txt"}
    options |= {"names": "data.names", "backup": "backup"}
    description = {"train": "images", "val": "images", "nc": len(known), "names": known}
    contents = {
        "data.names": "".join(f"{name}\n" for name in known),
        "train.txt": "".join(f"images/{name}\n" for name in labelled),
        "data.data": "".join(f"{key} = {value}\n" for key, value in options.items()),
        "data.yaml": yaml.safe_dump(description, sort_keys=False, allow_unicode=True),
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]
