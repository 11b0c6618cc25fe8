"""The results of single images as lines of JSON: kept in a folder, or sent to another process.

The first line of a file is a key, a digest of everything that the results depend on. A damaged
line, as the last one is after the program was stopped while writing it, counts as absent.
"""

import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from darknet_torch.data.dataset import Array
from darknet_torch.errors import UsageError, warn

__all__ = ["RECORD_COLUMNS", "Record", "RecordCache", "decode", "encode"]

RECORD_COLUMNS = 6
"""Class, score, left, top, right, bottom."""
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
"""Errors of a folder that others wrote and this user may only read."""


class Record(NamedTuple):
    """The result of one image.

    Attributes:
        image: index in the data set.
        rows: (N, 6) float32: class, score, then left, top, right, bottom in pixels.
        error: the reason why the image could not be read, if so.
    """

    image: int
    rows: Array
    error: str | None = None


def encode(record: Record) -> str:
    """Return a record as one line; nine digits hold every float32."""
    rows = ",".join(f"[{','.join(f'{v:.9g}' for v in row)}]" for row in record.rows.tolist())
    error = json.dumps(record.error)
    return f'{{"picture":{record.image},"error":{error},"rows":[{rows}]}}\n'


def decode(lines: Iterable[str]) -> Iterator[Record]:
    """Yield the records of lines; damaged lines are skipped."""
    for line in lines:
        record = _decoded(line)
        if record is not None:
            yield record


def _decoded(line: str) -> Record | None:
    try:
        content = json.loads(line)
        with np.errstate(over="ignore"):
            rows = np.array(content["rows"], np.float32).reshape(-1, RECORD_COLUMNS)
        record = Record(int(content["picture"]), rows, content["error"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    valid = bool(np.isfinite(rows).all()) and record.image >= 0
    return record if valid and isinstance(record.error, str | None) else None


class RecordCache:
    """A folder's files of records with one key; each process appends to a file of its own.

    In a folder that cannot be written, what is there is used, and nothing is added.

    Args:
        folder: made if it does not exist.
        key: digest of everything that the records depend on.
        rank: number of this process.

    Raises:
        UsageError: a file cannot be read or written, on a full disk for instance.
    """

    def __init__(self, folder: Path, key: str, rank: int = 0) -> None:
        self.folder, self.key = folder, key
        self.path = folder / f"{key[:32]}-{rank}.jsonl"
        self._file: FileIO | None = None

    def read(self) -> dict[int, Record]:
        """Return all records by image, whichever process wrote them."""
        records: dict[int, Record] = {}
        for path in sorted(self.folder.glob(f"{self.key[:32]}-*.jsonl")):
            with _errors(path), path.open(encoding="utf-8", errors="replace") as lines:
                if lines.readline(len(self.key) + 1).strip() == self.key:
                    records |= {record.image: record for record in decode(lines)}
        return records

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = FileIO(self.path, "a+")  # without a buffer: what was written is there
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise UsageError(_cannot_write(self.path, error)) from error
            warn(f"{self.folder}: cannot be written ({error.strerror}), so nothing is added to it")
            return self
        try:
            with _errors(self.path):
                self._begin(self._file)
        except BaseException:
            self._file.close()
            raise
        return self

    def _begin(self, file: FileIO) -> None:
        """Write the key, unless the file has it: a program may be stopped before it has."""
        file.seek(0)
        known = file.read(len(self.key) + 1) == f"{self.key}\n".encode()
        if not known:
            file.truncate(0)
        # a line that was cut off must not swallow the next one
        _write(file, "\n" if known else f"{self.key}\n")
        os.fsync(file.fileno())

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, records: Iterable[Record]) -> None:
        """Append records; they are in the file when this returns."""
        if self._file is not None:
            with _errors(self.path):
                _write(self._file, "".join(map(encode, records)))


def _write(file: FileIO, text: str) -> None:
    content = text.encode()
    while content:
        content = content[file.write(content) :]


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(_cannot_write(path, error)) from error


def _cannot_write(path: Path, error: OSError) -> str:
    return f"{path}: cannot be read or written: {error.strerror or error}"
