"""The model zoo: the catalogue of known models and the download of their files."""

from darknet_torch.zoo.catalogue import (
    Model,
    RemoteFile,
    cache_dir,
    cached,
    fetch,
    fetch_file,
    find_file,
    find_model,
    list_files,
    list_models,
)

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
