"""Results as Parquet: one file a unit, which has its name only when it is complete."""

import json
from secrets import token_hex
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from darknet_torch.batch.detector import RESULT_COLUMNS
from darknet_torch.errors import UsageError
from darknet_torch.extras import require
from darknet_torch.files import write_atomically
from darknet_torch.safety.text import first_line

__all__ = ["Output"]

SETTINGS = "_settings.json"
"""Readers of Parquet take all files of a folder, but for those that begin with _ or a dot."""
FORMER_SETTINGS = "settings.json"
EARLIER = {"decoder": "pillow"}
"""Settings that earlier versions did not write, and what they did."""


class Output:
    """A folder of results, on a disk or at an address of fsspec.

    Args:
        address: of the folder; it is made.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.system, self.path = fsspec.core.url_to_fs(address)
        self.path = self.path.rstrip("/")

    def begin(self, settings: dict[str, Any]) -> None:
        """Make the folder, and note the settings; those of an earlier start must be the same.

        Raises:
            UsageError: the folder was begun with other settings, or cannot be written to.
        """
        text = json.dumps(settings, indent=2, sort_keys=True)
        path = f"{self.path}/{SETTINGS}"
        try:
            self.system.makedirs(self.path, exist_ok=True)
            names = (path, f"{self.path}/{FORMER_SETTINGS}")
            if known := next(filter(self.system.exists, names), None):
                before = EARLIER | json.loads(self.system.cat_file(known))
                differ = [key for key in settings if before.get(key) != settings[key]]
                if differ:
                    key = differ[0]
                    raise UsageError(
                        f"{self.address}: was begun with {key}={before.get(key)}, not"
                        f" {settings[key]}; take another folder"
                    )
                return
            self._write(path, text.encode())
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.address}: cannot be written: {first_line(error)}") from error

    def done(self) -> frozenset[str]:
        """Return the addresses of the images, and the names of the parts, that are there.

        Raises:
            UsageError: a file named like a part is damaged, or is something else.
        """
        parquet = require("pyarrow.parquet", "batch")
        done = set[str]()
        for path in self.system.glob(f"{self.path}/part-*.parquet"):
            done.add(path.rpartition("/")[2])
            try:
                with self.system.open(path, "rb") as file:
                    done.update(parquet.read_table(file, columns=["path"])["path"].to_pylist())
            except (OSError, ValueError, KeyError) as error:  # pyarrow's are some of these
                raise UsageError(f"{path}: is none of its parts: {first_line(error)}") from error
        return frozenset(done)

    def write(self, name: str, columns: dict[str, Any]) -> None:
        """Write a part: `path` and the columns of the detector.

        Raises:
            UsageError: it cannot be written.
        """
        arrow, parquet = require("pyarrow", "batch"), require("pyarrow.parquet", "batch")
        types = (
            *(arrow.list_(arrow.float32()), arrow.list_(arrow.float32())),
            *(arrow.list_(arrow.int32()), arrow.list_(arrow.string())),
            *(arrow.int32(), arrow.int32(), arrow.string()),
        )
        schema = arrow.schema(
            [("path", arrow.string()), *zip(RESULT_COLUMNS, types, strict=True)],
        )
        table = arrow.table({key: list(columns[key]) for key in schema.names}, schema=schema)
        buffer = arrow.BufferOutputStream()
        parquet.write_table(table, buffer, compression="zstd")
        try:
            self._write(f"{self.path}/{name}", buffer.getvalue().to_pybytes())
        except OSError as error:
            raise UsageError(f"{self.address}: cannot be written: {first_line(error)}") from error

    def _write(self, path: str, content: bytes) -> None:
        """Write beside, and rename: an object store shows a file only when it is complete."""
        if isinstance(self.system, LocalFileSystem):
            write_atomically(path, content)
            return
        folder, _, name = path.rpartition("/")
        temporary = f"{folder}/.{name}.{token_hex(4)}"
        self.system.pipe_file(temporary, content)
        self.system.mv(temporary, path)
