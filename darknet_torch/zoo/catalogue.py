"""The catalogue of known models: names, sources, sizes and digests of their weights.

The entries are in `zoo.yaml`. Weights and the files that a model needs are fetched on first use and
kept in `cache_dir()`. Neither torch nor numpy is imported here.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from darknet_torch.errors import UsageError
from darknet_torch.progress import Progress
from darknet_torch.zoo.download import FileSource, download, is_complete
from darknet_torch.zoo.package_index import PackageFile

__all__ = [
    "Model",
    "RemoteFile",
    "cache_dir",
    "cached",
    "fetch",
    "fetch_file",
    "find_file",
    "find_model",
    "list_files",
    "list_models",
]


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file that can be fetched, such as a word tree or class names."""

    name: str
    sources: tuple[FileSource, ...]
    """Tried in this order."""
    bytes: tuple[int, ...]
    """The size in bytes; several where it is not known which header the file has."""
    sha256: str | None = None
    sha1: str | None = None
    digest_source: str | None = None
    """Who published the digest. Without a digest only the size of the file is checked."""
    licence: str = "not stated"

    @property
    def filename(self) -> str:
        """The name in the cache."""
        return self.name

    @property
    def digest(self) -> str | None:
        """The digest as `download` takes it: `sha256:HEX`, else `sha1:HEX`, else None."""
        if self.sha256:
            return f"sha256:{self.sha256}"
        return f"sha1:{self.sha1}" if self.sha1 else None


@dataclass(frozen=True, kw_only=True)
class Model(RemoteFile):
    """A cfg, its trained weights, and what is known of both."""

    cfg: str
    """Name of the cfg in the folder cfg/, without .cfg."""
    names: str
    """The file of class names, one per line: in cfg/ or among `files`."""
    dialect: str
    """The fork that the weights were trained with: `pjreddie` or `alexeyab`."""
    width: int
    """Width of the input in pixels."""
    height: int
    """Height of the input in pixels."""
    accuracy: str | None = None
    """As published; not measured here."""
    accuracy_source: str | None = None
    files: tuple[str, ...] = ()
    """Names of the supporting files that the model needs."""

    @property
    def filename(self) -> str:
        """The weights' name in the cache."""
        return f"{self.name}.weights"


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the models that match a shell pattern.

    >>> list_models("yolov4*")
    ['yolov4', 'yolov4-csp', 'yolov4-tiny']

    Args:
        pattern: of a shell, such as "yolov4*".
    """
    return sorted(name for name in _models() if fnmatchcase(name, pattern))


def list_files(pattern: str = "*") -> list[str]:
    """Return the names of the supporting files that match a shell pattern."""
    return sorted(name for name in _files() if fnmatchcase(name, pattern))


def find_model(name: str) -> Model:
    """Return the entry of a model.

    Raises:
        UsageError: there is no such model; the message has the nearest name.
    """
    if name not in _models():
        raise UsageError(f"{name}: {_unknown('model', name, _models())}")
    return _models()[name]


def find_file(name: str) -> RemoteFile:
    """Return the entry of a supporting file.

    Raises:
        UsageError: there is no such file; the message has the nearest name.
    """
    if name not in _files():
        raise UsageError(f"{name}: {_unknown('file', name, _files())}")
    return _files()[name]


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
    """Return the path of a supporting file in the cache, as `fetch` does for weights."""
    return _download(find_file(name), progress)


def cached(name: str) -> Path | None:
    """Return the path of a model's weights or of a supporting file; None if not in the cache."""
    entry = find_file(name) if name in _files() else find_model(name)
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
        progress=progress,
        hint=hint,
    )


@cache
def _read() -> Mapping[str, Any]:
    text = resources.files("darknet_torch.zoo").joinpath("zoo.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where there is one: 10 x faster
    content: Mapping[str, Any] = yaml.load(text, loader)
    return content


@cache
def _models() -> Mapping[str, Model]:
    entries = _read()["models"].items()
    return {name: Model(**_fields(name, {"cfg": name} | entry)) for name, entry in entries}


@cache
def _files() -> Mapping[str, RemoteFile]:
    return {name: RemoteFile(**_fields(name, entry)) for name, entry in _read()["files"].items()}


def _fields(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an entry of the YAML file to the fields of the dataclasses."""
    size = entry["bytes"]
    sources = (
        source if isinstance(source, str) else PackageFile(**source) for source in entry["sources"]
    )
    return (
        dict(entry)
        | {
            "name": name,
            "sources": tuple(sources),
            "bytes": (size,) if isinstance(size, int) else tuple(sorted(size)),
        }
        | ({"files": tuple(entry["files"])} if "files" in entry else {})
    )


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"no such {kind}; " + (f"did you mean {near[0]}?" if near else "see list_models()")
