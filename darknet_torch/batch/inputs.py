"""Images of folders, globs, Parquet files and WebDataset shards, on disks or at any address."""

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import fsspec

from darknet_torch.errors import DarknetError, UsageError
from darknet_torch.extras import require
from darknet_torch.files import IMAGE_SUFFIXES
from darknet_torch.inference.streaming import read_ahead
from darknet_torch.safety.text import first_line

__all__ = ["Unit", "units_of"]

SHARDS = (".parquet", ".tar")
SUFFIXES = tuple(each for each in IMAGE_SUFFIXES if each != ".npy")
SHARES, LEAST, MOST = 64, 16, 256
"""Units that a list of images is cut into, and how many images a unit has at least and at most."""
READERS = 8
"""Images whose files are read at the same time."""
LARGEST = 1 << 29
"""Bytes of an image's file; a larger one is not read."""


@dataclass(frozen=True)
class Unit:
    """What a worker does at once, and what a restart repeats or leaves out: its part of the output.

    Args:
        addresses: of images, or of one shard.
    """

    addresses: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file of its results, which is made from its addresses."""
        digest = hashlib.sha256("\n".join(self.addresses).encode()).hexdigest()
        return f"part-{digest[:24]}.parquet"

    @property
    def is_shard(self) -> bool:
        """Whether it is one file of many images."""
        return self.addresses[0].lower().endswith(SHARDS)

    def items(self, column: str) -> Iterator[tuple[str, bytes | str]]:
        """Yield the address and content of each image; a text is the reason why there is none.

        Args:
            column: of a Parquet file: that which holds the contents of images.

        Raises:
            UsageError: a shard is damaged, or has no such column.
        """
        if not self.is_shard:
            # an object store takes its time for each, and for many at once hardly longer
            for address, content in read_ahead(_content, self.addresses, READERS, 2 * READERS):
                yield address, str(content) if isinstance(content, DarknetError) else content
            return
        (address,) = self.addresses
        read = _tar if address.lower().endswith(".tar") else _parquet
        try:
            yield from read(address, column)
        except UsageError:
            raise
        except Exception as error:  # of file systems and parsers, each with errors of its own
            raise UsageError(f"{address}: cannot be read: {first_line(error)}") from error


def _content(address: str) -> bytes | str:
    try:
        with fsspec.open(address, "rb") as file:
            size = getattr(file, "size", None)  # some servers do not tell
            if size is not None and size > LARGEST:
                return _too_large(address)
            content = file.read() if size is not None else file.read(LARGEST + 1)
    except Exception as error:  # each file system has errors of its own
        return f"{address}: cannot be read: {first_line(error)}"
    return _checked(address, content)


def _tar(address: str, _: str) -> Iterator[tuple[str, bytes | str]]:
    with fsspec.open(address, "rb") as file, tarfile.open(fileobj=file, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None and member.name.lower().endswith(SUFFIXES):
                name = f"{address}/{member.name}"
                yield name, _too_large(name) if member.size > LARGEST else content.read()


def _parquet(address: str, column: str) -> Iterator[tuple[str, bytes | str]]:
    parquet = require("pyarrow.parquet", "batch")
    with fsspec.open(address, "rb") as file:
        table = parquet.ParquetFile(file)
        names = table.schema_arrow.names
        if column not in names:
            raise UsageError(f"{address}: has no column {column}; there are {', '.join(names)}")
        number = 0
        for batch in table.iter_batches(batch_size=64, columns=[column]):
            for value in batch.column(0).to_pylist():
                # Hugging Face's images are {"bytes": ..., "path": ...}
                content = value.get("bytes") if isinstance(value, dict) else value
                yield f"{address}#{number}", _checked(f"{address}#{number}", content)
                number += 1


def _checked(name: str, content: object) -> bytes | str:
    """Return the content of an image's file, or the reason why it is none."""
    if not isinstance(content, bytes):
        what = "nothing" if content is None else type(content).__name__
        return f"{name}: not the bytes of an image, but {what}"
    return _too_large(name) if len(content) > LARGEST else content


def _too_large(name: str) -> str:
    return f"{name}: has more than {LARGEST} bytes"


def units_of(source: str, done: frozenset[str], size: int | None = None) -> tuple[list[Unit], int]:
    """Return what is to be done, and how many images or shards are done already.

    Args:
        source: a folder, a file or a glob, on a disk or at an address of fsspec (`s3://...`).
        done: addresses of images, and names of shards' parts, whose results are there.
        size: images in a unit; None is 256, or fewer where there are few, so that many workers
            have equal shares.

    Raises:
        UsageError: there are no images.
    """
    found = _listed(source)
    if not found:
        raise UsageError(f"{source}: no images, Parquet files or tar files")
    shards = [Unit((each,)) for each in found if each.lower().endswith(SHARDS)]
    images = [each for each in found if not each.lower().endswith(SHARDS)]
    left = [each for each in images if each not in done]
    if size is None:
        size = min(max(len(left) // SHARES, LEAST), MOST)
    parts = [Unit(tuple(left[start : start + size])) for start in range(0, len(left), size)]
    parts += [each for each in shards if each.name not in done]
    total = len(left) + sum(each.name not in done for each in shards)
    return parts, len(found) - total


def _listed(source: str) -> Sequence[str]:
    """Return the sorted addresses of the images and shards that a source stands for."""
    try:
        system, path = fsspec.core.url_to_fs(source)
        if any(each in path for each in "*?["):
            names = system.glob(path)
        elif system.isdir(path):
            names = system.find(path)
        else:
            names = [path] if system.exists(path) else []
    except Exception as error:  # each file system has errors of its own
        raise UsageError(f"{source}: cannot be listed: {first_line(error)}") from error
    wanted = [each for each in names if _is_wanted(each)]
    return sorted(_address(system, each) for each in wanted)


def _is_wanted(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in (*SUFFIXES, *SHARDS)


def _address(system: Any, name: str) -> str:
    return name if "file" in _protocols(system) else str(system.unstrip_protocol(name))


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)
