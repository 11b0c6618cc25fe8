"""The entries of the zoo: what is known of models, backbones and supporting files.

They are read from `zoo.yaml`. Neither torch nor numpy is imported here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from darknet_torch.files import cfg_folder
from darknet_torch.zoo.download import FileSource
from darknet_torch.zoo.package_index import PackageFile

__all__ = [
    "Backbone",
    "Model",
    "RemoteFile",
    "describe",
    "read_backbones",
    "read_files",
    "read_models",
]

DIGESTS = ("sha512", "sha256", "sha1")
"""The strongest first."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file that can be fetched, such as a word tree or class names."""

    name: str
    sources: tuple[FileSource, ...]
    """Tried in this order; () where no program can fetch it."""
    bytes: tuple[int, ...]
    """The size in bytes; several where it is not known which header the file has."""
    published: str | None = None
    """The page where a person gets the file, if no program can, or perhaps none."""
    sha512: str | None = None
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
        """The strongest digest that is known, as `download` takes it: `sha256:HEX`; or None."""
        known = (f"{kind}:{value}" for kind in DIGESTS if (value := getattr(self, kind)))
        return next(known, None)


@dataclass(frozen=True, kw_only=True)
class Model(RemoteFile):
    """A cfg, its trained weights, and what is known of both."""

    cfg: str
    """Name of the cfg in the folder cfg/, without .cfg."""
    dialect: str
    """The fork that the weights were trained with: `pjreddie` or `alexeyab`."""
    task: str
    """What it does: `detection`, `classification`, `features`, `moves` (of Go) or `text`."""
    data: str
    """What it was trained on, such as COCO."""
    names: str | None = None
    """The file of class names, one per line: in cfg/ or among `files`; None: it has no classes."""
    width: int | None = None
    """Width of the input in pixels; None if it is no image."""
    height: int | None = None
    """Height of the input in pixels; None if it is no image."""
    accuracy: str | None = None
    """As published; not measured here."""
    accuracy_source: str | None = None
    files: tuple[str, ...] = ()
    """Names of the supporting files that the model needs."""

    @property
    def filename(self) -> str:
        """The weights' name in the cache."""
        return f"{self.name}.weights"


@dataclass(frozen=True, kw_only=True)
class Backbone(RemoteFile):
    """A weights file of only the first layers of a network, from which trainings start."""

    cfg: str
    """Name of the network's cfg in the folder cfg/, without .cfg."""
    layers: int
    """How many layers it holds."""


@cache
def describe(cfg: str) -> str:
    """Return the first sentence of a cfg of the package: what the network is."""
    lines: list[str] = []
    for line in (cfg_folder() / f"{cfg}.cfg").read_text(encoding="utf-8").splitlines():
        lines.append(line.removeprefix("# "))
        if line.endswith("."):
            break
    return " ".join(lines)


@cache
def read_models() -> Mapping[str, Model]:
    """Return the models by their names."""
    entries = _read()["models"].items()
    return {name: Model(**_fields(name, {"cfg": name} | entry)) for name, entry in entries}


@cache
def read_backbones() -> Mapping[str, Backbone]:
    """Return the backbones by their names."""
    entries = _read()["backbones"].items()
    return {name: Backbone(**_fields(name, entry)) for name, entry in entries}


@cache
def read_files() -> Mapping[str, RemoteFile]:
    """Return the supporting files by their names."""
    return {name: RemoteFile(**_fields(name, entry)) for name, entry in _read()["files"].items()}


@cache
def _read() -> Mapping[str, Any]:
    text = resources.files("darknet_torch.zoo").joinpath("zoo.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where there is one: 10 x faster
    content: Mapping[str, Any] = yaml.load(text, loader)
    return content


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
