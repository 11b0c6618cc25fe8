"""The catalogue of known models: names, sources, sizes and digests of their weights.

Weights and the files that a model needs are fetched on first use and kept in `cache_dir()`. Neither
torch nor numpy is imported here.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from darknet_torch.errors import UsageError
from darknet_torch.progress import Progress
from darknet_torch.zoo.download import download, is_complete
from darknet_torch.zoo.entries import (
    Backbone,
    Model,
    RemoteFile,
    describe,
    read_backbones,
    read_files,
    read_models,
)

__all__ = [
    "cache_dir",
    "cached",
    "fetch",
    "fetch_file",
    "find_backbone",
    "find_file",
    "find_model",
    "list_backbones",
    "list_files",
    "list_models",
    "search",
]

Entry = TypeVar("Entry", bound=RemoteFile)


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the models that match a shell pattern.

    >>> list_models("yolov2*")
    ['yolov2', 'yolov2-tiny', 'yolov2-tiny-voc', 'yolov2-voc']

    Args:
        pattern: of a shell, such as "yolov4*".
    """
    return sorted(name for name in read_models() if fnmatchcase(name, pattern))


def search(words: Sequence[str]) -> list[str]:
    """Return the names of the models and backbones that all words fit, whatever their case.

    A word fits what stands in a model's name, in what it is, does and was trained on, in its
    dialect, its licence and its published accuracy; or in a backbone's name.

    >>> search(["openimages"])
    ['yolov3-openimages']

    Args:
        words: such as ["coco", "mish"].

    Raises:
        UsageError: none fits; the message has the nearest words.
    """
    texts = {name: _text(model) for name, model in read_models().items()}
    texts |= {name: f"backbone {name}" for name in read_backbones()}
    lowered = [word.casefold() for word in words]
    found = [name for name, text in texts.items() if all(word in text for word in lowered)]
    if not found:
        raise UsageError(f"{' '.join(words)}: no model fits; {_near_words(lowered, texts)}")
    return found


def list_backbones(pattern: str = "*") -> list[str]:
    """Return the names of the backbones that match a shell pattern."""
    return sorted(name for name in read_backbones() if fnmatchcase(name, pattern))


def list_files(pattern: str = "*") -> list[str]:
    """Return the names of the supporting files that match a shell pattern."""
    return sorted(name for name in read_files() if fnmatchcase(name, pattern))


def find_model(name: str) -> Model:
    """Return the entry of a model.

    Raises:
        UsageError: there is no such model; the message has the nearest name.
    """
    return _found("model", name, read_models())


def find_backbone(name: str) -> Backbone:
    """Return the entry of a backbone.

    Raises:
        UsageError: there is no such backbone; the message has the nearest name.
    """
    return _found("backbone", name, read_backbones())


def find_file(name: str) -> RemoteFile:
    """Return the entry of a supporting file or of a backbone.

    Raises:
        UsageError: there is no such file; the message has the nearest name.
    """
    return _found("file", name, {**read_files(), **read_backbones()})


def fetch(name: str, progress: Progress | None = None) -> Path:
    """Return the path of a model's weights in the cache; fetch them and its other files if needed.

    Args:
        name: one of `list_models()`.
        progress: called with the bytes of the weights that have arrived, and their total.

    Raises:
        UsageError: there is no such model.
        DownloadError: no source has a file of the right size and digest; the message describes
            how to fetch it by hand.
    """
    model = find_model(name)
    for file in model.files:
        fetch_file(file)
    return _download(model, progress, hint=", or pass --weights FILE")


def fetch_file(name: str, progress: Progress | None = None) -> Path:
    """Return the path of a supporting file or backbone in the cache, as `fetch` for weights."""
    return _download(find_file(name), progress)


def cached(name: str) -> Path | None:
    """Return the path of a model's weights or of another file; None if not in the cache."""
    entry = find_model(name) if name in read_models() else find_file(name)
    path = cache_dir() / entry.filename
    return path if is_complete(path, entry.bytes) else None


def cache_dir() -> Path:
    """Return the folder of fetched files: $DARKNET_TORCH_CACHE, else below the system's caches.

    These are $XDG_CACHE_HOME or ~/.cache on Linux, ~/Library/Caches on macOS, and %LOCALAPPDATA% on
    Windows, with `darknet_torch` below it.
    """
    if chosen := os.environ.get("DARKNET_TORCH_CACHE"):
        return Path(chosen).expanduser()
    home = Path.home()
    variable, default = {
        "win32": ("LOCALAPPDATA", home / "AppData" / "Local"),
        "darwin": ("", home / "Library" / "Caches"),
    }.get(sys.platform, ("XDG_CACHE_HOME", home / ".cache"))
    return Path(os.environ.get(variable) or default) / "darknet_torch"


def _download(entry: RemoteFile, progress: Progress | None, hint: str = "") -> Path:
    return download(
        entry.sources,
        cache_dir() / entry.filename,
        size=entry.bytes,
        digest=entry.digest,
        published=entry.published,
        progress=progress,
        hint=hint,
    )


def _found(kind: str, name: str, entries: Mapping[str, Entry]) -> Entry:
    """Return an entry; UsageError if there is none of that name."""
    if name not in entries:
        near = get_close_matches(name, entries, n=1)
        hint = f"did you mean {near[0]}?" if near else "`darknet-torch models` lists all"
        raise UsageError(f"{name}: no such {kind}; {hint}")
    return entries[name]


def _text(model: Model) -> str:
    """Return the text in which the words of a search are looked for."""
    facts = (model.task, model.data, model.dialect, model.licence, model.accuracy or "")
    return " ".join((model.name, describe(model.cfg), *facts)).casefold()


def _near_words(words: Sequence[str], texts: Mapping[str, str]) -> str:
    """Return a hint of the words that are nearest to those that fit nothing."""
    lost = [word for word in words if not any(word in text for text in texts.values())]
    known = {word for text in texts.values() for word in re.findall(r"[\w.-]*\w", text)}
    near = [each for word in lost for each in get_close_matches(word, known, n=2)]
    if near:
        return f"did you mean {' or '.join(dict.fromkeys(near))}?"
    return "`darknet-torch models` lists all" if lost else "each of the words fits others"
