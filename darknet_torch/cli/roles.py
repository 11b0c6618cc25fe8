"""What the files of a command line are, by their place and their content: cfg, weights, image.

An error says which word stands where another is expected, before anything is loaded.
"""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from glob import has_magic
from pathlib import Path
from typing import Literal

from darknet_torch import zoo
from darknet_torch.errors import DarknetError, UsageError
from darknet_torch.files import IMAGE_SUFFIXES, cfg_folder, is_file

__all__ = [
    "Role",
    "check_cfg",
    "check_weights",
    "is_weights",
    "names_beside",
    "refuse_backbone",
    "role_of",
]

Role = Literal["cfg", "weights", "image", "data set", "text", "folder", "file"]
"""What a path is; "file" is a file of another kind."""
WEIGHTS = (".weights", ".safetensors", ".pt", ".pth", ".backup")
CONVERTED = (".onnx", ".xml", ".pt2", ".torchscript", ".ts", ".param", ".tflite")
DATA_SETS = (".data", ".yaml", ".yml", ".json")
MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*", b"\x93NUMPY")
"""How images begin."""
A = {"cfg": "a cfg", "weights": "a weights file", "image": "an image", "data set": "a data set"}
A |= {"text": "a text", "folder": "a folder", "file": "another file"}


def role_of(path: str) -> Role | None:
    """Return what a path is, by its content first; None where nothing is there."""
    try:
        if Path(path).is_dir():
            return "folder"
        if not is_file(path):
            return None
        with Path(path).open("rb") as file:
            start = file.read(4096)
    except (OSError, ValueError):
        return None
    if start.startswith(MAGIC):
        return "image"
    if not re.search(rb"[^\t-\r\x1a\x1b -\xff]", start):
        return _role_of_text(path, start)
    ending = Path(path).suffix.lower()
    return "weights" if ending in (*WEIGHTS, *CONVERTED) or _has_header(start) else "file"


def _role_of_text(path: str, start: bytes) -> Role:
    if re.search(rb"^\s*\[\s*(net|network)\s*\]", start, re.MULTILINE):
        return "cfg"
    ending = Path(path).suffix.lower()
    if ending in (*WEIGHTS, *CONVERTED):  # an empty one, or OpenVINO's
        return "weights"
    return "data set" if ending in DATA_SETS else "text"


def _has_header(start: bytes) -> bool:
    """Return whether a file begins as Darknet's weights do: three small numbers, the version."""
    numbers = [int.from_bytes(start[place : place + 4], "little") for place in (0, 4, 8)]
    return len(start) >= 16 and max(numbers) < 100


def is_weights(cfg: str, word: str, *, converted: bool = True) -> bool:
    """Return whether a word behind CFG is its weights file, and not an image or a data set.

    A network by name has weights of its own; a cfg file needs some, whatever their ending. The
    name of a backbone is weights, too.
    converted: converted files count as such.
    """
    if not converted and word.lower().endswith(CONVERTED):
        return False
    role, ending = role_of(word), Path(word).suffix.lower()
    if role is None:
        named = ending in (*WEIGHTS, *CONVERTED) or word in zoo.list_backbones()
        named = named or re.search(r"\.conv\.\d+$", word) is not None
        other = ending in (*IMAGE_SUFFIXES, *DATA_SETS, ".txt") or has_magic(word)
        expected = role_of(cfg) == "cfg" and not other and word != "-" and "://" not in word
        return named or expected
    return role == "weights" or (role == "file" and role_of(cfg) == "cfg")


def check_cfg(cfg: str, weights: str | None, others: Sequence[str] = ()) -> None:
    """Raise UsageError where CFG is no network.

    Args:
        cfg: the word at the place of the cfg.
        weights: the weights file, if one was found.
        others: the words behind.
    """
    role = role_of(cfg)
    if role is None:
        if not _is_known(cfg):
            refuse_backbone(cfg)
            raise UsageError(f"{cfg}: no such file, and no such model{_near_cfg(cfg)}")
    elif role == "weights" and not cfg.lower().endswith((*CONVERTED, *WEIGHTS[1:-1])):
        swapped = next((each for each in (weights, *others) if each and role_of(each) == "cfg"), "")
        if swapped:
            raise UsageError(f"{cfg} and {swapped} are swapped: the cfg comes first")
        raise UsageError(f"{cfg}: a weights file; the cfg comes before it")
    elif role in ("image", "data set", "folder"):
        raise UsageError(f"{cfg}: {A[role]}; the network comes first, a name or CFG WEIGHTS")


def check_weights(cfg: str, weights: str | None, *, backbone: bool = False) -> None:
    """Raise UsageError where a cfg has no weights file, or another file stands in its place.

    backbone: the name of a backbone will do.
    """
    if weights is None:
        if role_of(cfg) == "cfg":
            beside = sorted(Path(cfg).parent.glob("*.weights"))
            mine = [path for path in beside if path.stem.startswith(Path(cfg).stem)] or beside
            hint = f"; there is {mine[0]}" if len(mine) == 1 else ""
            raise UsageError(f"{cfg}: no weights given; they come behind the cfg{hint}")
        if _is_known(cfg) and cfg not in zoo.list_models() and role_of(cfg) is None:
            raise UsageError(
                f"{cfg}: no weights given; `darknet-torch models` lists what is fetched"
            )
    elif weights in zoo.list_backbones() and role_of(weights) is None:
        if not backbone:
            refuse_backbone(weights)
    elif (role := role_of(weights)) is None:
        names = [each.name for each in _around(weights)]
        near = _near(Path(weights).name, [*names, *zoo.list_backbones()])
        raise UsageError(f"{weights}: cannot be read: No such file or directory{near}")
    elif role not in ("weights", "file"):
        raise UsageError(f"{weights}: {A[role]}; a weights file comes behind the cfg")


def refuse_backbone(word: str | None) -> None:
    """Raise UsageError where a word is the name of a backbone, which has no last layers."""
    if word is not None and word in zoo.list_backbones() and role_of(word) is None:
        layers = zoo.find_backbone(word).layers
        what = f"only the first {layers} layers, for `train CFG {word} DATA` to start from"
        raise UsageError(f"{word}: {what}")


def names_beside(cfg: str, classes: int) -> Path | None:
    """Return the file in the cfg's folder that alone has as many class names as needed.

    It is a .names file, or where none fits, the .data file of a data set.
    """
    if role_of(cfg) != "cfg":
        return None
    for pattern in ("*.names", "*.data"):
        paths = sorted(Path(cfg).parent.glob(pattern))
        fitting = [path for path in paths if is_file(path) and _count_names(path) == classes]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def _count_names(path: Path) -> int | None:
    """Return how many class names a file has; None of a data set that has none of its own."""
    from darknet_torch.data.class_names import read_class_names

    try:
        return len(read_class_names(path))
    except DarknetError:
        return None


def _is_known(name: str) -> bool:
    """Return whether a name is that of a model, or of a cfg of the package."""
    return name in zoo.list_models() or is_file(cfg_folder() / f"{name}.cfg")


def _near_cfg(cfg: str) -> str:
    """Return a hint of the nearest name: of a model, or of a cfg in the same folder."""
    names = {path.stem for path in cfg_folder().glob("*.cfg")} | set(zoo.list_models())
    files = {each.name for each in _around(cfg) if each.suffix.lower() == ".cfg"}
    word = Path(cfg).name
    bare = word.removesuffix(".weights").removesuffix(".cfg")
    near = _near(bare if bare in names else word, names | files)
    return near or "; `darknet-torch models` lists those that are known"


def _around(path: str) -> list[Path]:
    folder = Path(path).parent
    return sorted(folder.iterdir())[:10_000] if folder.is_dir() else []


def _near(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""
