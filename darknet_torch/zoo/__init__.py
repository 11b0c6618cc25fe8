"""The model zoo: the catalogue of known models and the download of their files."""

from darknet_torch.zoo.catalogue import (
    cache_dir,
    cached,
    fetch,
    fetch_file,
    find_backbone,
    find_file,
    find_model,
    list_backbones,
    list_files,
    list_models,
    search,
)
from darknet_torch.zoo.entries import Backbone, Model, RemoteFile

__all__ = [
    "Backbone",
    "Model",
    "RemoteFile",
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
